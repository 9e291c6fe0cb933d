import { inOrder, nothingChanged, nothingLost, notRepeated, oneAtATime, report } from './checkers.ts'
import { Harness, type Subject } from './harness.ts'
import { Random } from './random.ts'

/** What a workload does; the seed fills in the rest. */
export interface Plan {
  /** Whether messages are there before anybody reads. */
  readonly drive: 'publish first' | 'subscribe first'
  readonly groups: number
  /** In each group. */
  readonly members: number
  readonly messages: number
  /** 0 = messages have no key. */
  readonly keys: number
  /** How many of a hundred messages fail once in a group, at their first attempt. */
  readonly failing: number
  /** Members that leave, each while messages come; another joins in its place. */
  readonly drains: number
  /** Restarts of the broker meanwhile, where the subject can. */
  readonly restarts: number
}

/** Runs the plan in a world of its own. Throws with every rule that is broken, and the seed. */
export async function runWorkload(subject: Subject, plan: Plan, seed: number): Promise<void> {
  const harness = new Harness(subject, 'workload')
  try {
    await workload(harness, plan, seed)
  } finally {
    await harness.end()
  }
}

/** One workload for every shape of use: publishes, handles with failures, lets members leave and join, and checks what happened. */
export async function workload(h: Harness, plan: Plan, seed: number): Promise<void> {
  const random = new Random(seed)
  const publisher = await h.bus()
  const { capabilities } = publisher.status()
  const ordered = capabilities.ordering === 'group' && plan.keys > 0
  const restarts = h.subject.restart ? plan.restarts : 0
  const groups = Array.from({ length: plan.groups }, (_, i) => `g${i}`)
  const failed = new Set<string>()
  let joined = 0

  const join = async (group: string) => {
    const options = { group, order: ordered ? ('key' as const) : ('none' as const), concurrency: 1 + random.below(6) }
    const handler = async (message: { id: string }): Promise<void> => {
      if (random.chance(0.3)) await h.quiet(random.below(5))
      const first = `${group}/${message.id}`
      if (failed.has(first) || !random.chance(plan.failing / 100)) return
      failed.add(first)
      throw new Error('once')
    }
    return h.subscribe(await h.bus(), h.topic, options, handler, `${group}-${joined++}`)
  }
  const members: { group: string; leave: () => Promise<void> }[] = []
  const joinAll = async (): Promise<void> => {
    for (const group of groups)
      for (let i = 0; i < plan.members; i++) {
        const work = await join(group)
        members.push({ group, leave: () => work.close() })
      }
  }

  const disturbances: (() => Promise<void>)[] = [
    ...Array.from({ length: plan.drains }, () => async () => {
      if (members.length === 0) return
      const [gone] = members.splice(random.below(members.length), 1)
      await gone!.leave()
      const work = await join(gone!.group)
      members.push({ group: gone!.group, leave: () => work.close() })
    }),
    ...Array.from({ length: restarts }, () => async () => {
      h.history.add({ kind: 'restart', what: 'broker' })
      await h.subject.restart!()
    }),
  ]
  const publish = async (): Promise<void> => {
    const flying: Promise<unknown>[] = []
    for (let i = 0; i < plan.messages; i++) {
      const key = plan.keys > 0 && random.chance(0.8) ? { key: `k${random.below(plan.keys)}` } : {}
      const sent = h.publish(publisher, h.topic, { i }, key)
      flying.push(sent)
      if (random.chance(0.1)) await h.quiet(random.below(8))
      if (disturbances.length > 0 && random.chance((2 * disturbances.length) / plan.messages)) await disturbances.pop()!()
    }
    await Promise.all(flying)
  }

  if (plan.drive === 'subscribe first') {
    await joinAll()
    await publish()
  } else {
    // Without a history a group has to exist before the messages that it is to get.
    if (!capabilities.history) for (const group of groups) await (await join(group)).close()
    await publish()
    await joinAll()
  }
  while (disturbances.length > 0) await disturbances.pop()!()

  await h.until('every group has all that was confirmed', () => nothingLost(h.history, groups).length === 0, 3).catch(() => {})
  await h.quiet(30)
  report(
    [
      ...nothingLost(h.history, groups),
      ...nothingChanged(h.history),
      ...(ordered ? [...inOrder(h.history, groups), ...oneAtATime(h.history)] : []),
      // Where only positions are settled, finished work past a gap comes again after a rebalance.
      ...(capabilities.settle === 'message' ? notRepeated(h.history) : []),
    ],
    seed,
  )
}
