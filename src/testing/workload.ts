import {
  attemptsCounted,
  inOrder,
  nothingAfterLeaving,
  nothingChanged,
  nothingEarly,
  nothingLost,
  nothingRefusedDelivered,
  notRepeated,
  oneAtATime,
  report,
  type Violation,
} from './checkers.ts'
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
  /** How many of a hundred messages always fail, and become dead letters of every group. */
  readonly dying: number
  /** How many of a hundred messages without a key are to wait for up to a fifth of a second. */
  readonly late: number
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
  const dies = (i: number): boolean => random.of('dies', i).chance(plan.dying / 100)
  let joined = 0

  const join = async (group: string) => {
    const member = `${group}-${joined++}`
    const options = { group, order: ordered ? ('key' as const) : ('none' as const), concurrency: 1 + random.of(member).below(6) }
    const handler = async ({ id, body }: { id: string; body: { i: number } }): Promise<void> => {
      const own = random.of(group, body.i)
      if (own.chance(0.3)) await h.quiet(own.below(5))
      if (dies(body.i)) throw new Error('always')
      const first = `${group}/${id}`
      if (failed.has(first) || !own.chance(plan.failing / 100)) return
      failed.add(first)
      throw new Error('once')
    }
    const work = await h.subscribe(await h.bus(), h.topic, options, handler, member)
    return async (): Promise<void> => {
      await work.close()
      h.history.add({ kind: 'leave', member })
    }
  }
  const members: { group: string; leave: () => Promise<void> }[] = []
  const joinAll = async (): Promise<void> => {
    for (const group of groups) for (let i = 0; i < plan.members; i++) members.push({ group, leave: await join(group) })
  }

  const disturbances: (() => Promise<void>)[] = [
    ...Array.from({ length: plan.drains }, (_, i) => async () => {
      if (members.length === 0) return
      const [gone] = members.splice(random.of('drain', i).below(members.length), 1)
      await gone!.leave()
      members.push({ group: gone!.group, leave: await join(gone!.group) })
    }),
    ...Array.from({ length: restarts }, () => async () => {
      h.history.add({ kind: 'restart', what: 'broker' })
      await h.subject.restart!()
    }),
  ]
  const dying = new Set<string>()
  const publish = async (): Promise<void> => {
    const flying: Promise<unknown>[] = []
    for (let i = 0; i < plan.messages; i++) {
      const own = random.of('publish', i)
      const keyed = plan.keys > 0 && own.chance(0.8)
      const late = !keyed && own.chance(plan.late / 100)
      const options = keyed ? { key: `k${own.below(plan.keys)}` } : late ? { deliverAt: Date.now() + own.below(200) } : {}
      const sent = h.publish(publisher, h.topic, { i }, options)
      if (dies(i)) void sent.then((id) => dying.add(id))
      flying.push(sent)
      if (own.chance(0.1)) await h.quiet(own.below(8))
      if (disturbances.length > 0 && own.chance((2 * disturbances.length) / plan.messages)) await disturbances.pop()!()
    }
    await Promise.all(flying)
  }
  /** Every group gives up what always fails, and nothing else. */
  const buried = async (): Promise<Violation[]> => {
    const found: Violation[] = []
    const confirmed = h.history.entries.flatMap((entry) => (entry.kind === 'ok' && dying.has(entry.id) ? [entry.id] : []))
    for (const group of groups) {
      const letters = new Set<string>()
      for await (const { messageId } of publisher.admin.deadLetters(h.topic, group).export()) letters.add(messageId)
      const missing = confirmed.filter((id) => !letters.has(id))
      const wrong = [...letters].filter((id) => !dying.has(id))
      if (missing.length > 0)
        found.push({
          rule: 'R4',
          text: `group ${group} has no dead letter of ${missing.length} messages that always fail, the first is ${missing[0]}`,
        })
      if (wrong.length > 0) found.push({ rule: 'R4', text: `group ${group} gave up ${wrong[0]}, which does not always fail` })
    }
    return found
  }

  if (plan.drive === 'subscribe first') {
    await joinAll()
    await publish()
  } else {
    // Without a history a group has to exist before the messages that it is to get.
    if (!capabilities.history) for (const group of groups) await (await join(group))()
    await publish()
    await joinAll()
  }
  while (disturbances.length > 0) await disturbances.pop()!()

  await h.until('every group has all that was confirmed', () => nothingLost(h.history, groups, dying).length === 0, 3).catch(() => {})
  const complete = async (): Promise<boolean> => {
    if ((await buried()).length === 0) return true
    await h.quiet(50)
    return false
  }
  await h.until('every group has given up what always fails', complete, 3).catch(() => {})
  await h.quiet(30)
  report(
    [
      ...nothingLost(h.history, groups, dying),
      ...(await buried()),
      ...nothingChanged(h.history),
      ...nothingRefusedDelivered(h.history),
      ...nothingEarly(h.history),
      ...nothingAfterLeaving(h.history),
      ...attemptsCounted(h.history, capabilities.settle === 'message' && h.history.count('restart') === 0),
      ...(ordered ? [...inOrder(h.history, groups), ...oneAtATime(h.history)] : []),
      // Where only positions are settled, finished work past a gap comes again after a rebalance.
      ...(capabilities.settle === 'message' ? notRepeated(h.history) : []),
    ],
    seed,
  )
}
