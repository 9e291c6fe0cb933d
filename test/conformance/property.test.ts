import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { openEngine } from '../../src/engines/registry.ts'
import { Harness, type Subject } from '../../src/testing/harness.ts'
import { brokenEngines } from '../../src/testing/models/broken.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { type Plan, runWorkload, workload } from '../../src/testing/workload.ts'
import { share } from './share.ts'
import { modelSubject } from './subjects.ts'

const memory = await openEngine('memory:', {})
afterAll(() => memory.close())

const subjects: readonly (() => Subject)[] = [
  () => ({ name: 'memory', open: async () => share(memory) }),
  () => modelSubject('log', logModel()),
  () => modelSubject('log with idempotent producers', logModel({ dedupeWindowMs: 60_000 })),
  () => modelSubject('queue', queueModel()),
]

// Small first: a failure shrinks to few groups, members and messages.
const plans: fc.Arbitrary<Plan> = fc.record({
  drive: fc.constantFrom('publish first', 'subscribe first'),
  groups: fc.integer({ min: 1, max: 3 }),
  members: fc.integer({ min: 1, max: 3 }),
  messages: fc.integer({ min: 1, max: 150 }),
  keys: fc.integer({ min: 0, max: 10 }),
  failing: fc.integer({ min: 0, max: 30 }),
  dying: fc.integer({ min: 0, max: 10 }),
  late: fc.integer({ min: 0, max: 50 }),
  drains: fc.integer({ min: 0, max: 3 }),
  restarts: fc.integer({ min: 0, max: 2 }),
})

describe.concurrent('any workload: nothing lost, changed, repeated or out of order', () => {
  for (const subject of subjects) {
    test(subject().name, async () => {
      // fast-check prints its seed and the smallest plan that fails; the plan and the workload's seed give the run again.
      await fc.assert(
        fc.asyncProperty(plans, fc.nat(), (plan, seed) => runWorkload(subject(), plan, seed)),
        // On a slow machine fewer.
        { numRuns: 60, interruptAfterTimeLimit: 60_000 },
      )
    }, 120_000)
  }
})

test('a seed gives the same keys, delays and failures again, however the runs are interleaved', async () => {
  const plan: Plan = {
    drive: 'subscribe first',
    groups: 2,
    members: 2,
    messages: 80,
    keys: 5,
    failing: 20,
    dying: 5,
    late: 30,
    drains: 1,
    restarts: 0,
  }
  const sent = async (seed: number): Promise<unknown> => {
    const harness = new Harness(modelSubject('queue', queueModel()), 'seeds')
    try {
      await workload(harness, plan, seed)
    } finally {
      await harness.end()
    }
    const { entries } = harness.history
    const published = entries.flatMap((entry) => (entry.kind === 'invoke' ? [entry] : []))
    const failures = (id: string) =>
      ['g0', 'g1'].map(
        (group) => entries.filter((one) => one.kind === 'settle' && one.id === id && one.group === group && one.how === 'fail').length,
      )
    return published.map(({ id, key, digest, notBefore }) => ({ key, digest, waits: notBefore !== undefined, failures: failures(id) }))
  }
  const [first, again, other] = [await sent(7), await sent(7), await sent(8)]
  expect(again).toEqual(first)
  expect(other).not.toEqual(first)
}, 60_000)

test('a broken engine is found, and the plan shrunk to a small one', async () => {
  const broken = brokenEngines.find(({ name }) => name === 'two-members-at-once')!
  const found = await fc.check(
    fc.asyncProperty(plans, fc.nat(), async (plan, seed) => {
      const subject = modelSubject('log', logModel())
      await runWorkload({ ...subject, open: async () => broken.wrap(await subject.open()), patienceMs: 500 }, plan, seed)
    }),
    { numRuns: 60, interruptAfterTimeLimit: 60_000 },
  )
  expect(found.failed).toBe(true)
  const [plan] = found.counterexample!
  // Two messages and one key are enough; chance decides how near the shrinking comes.
  expect(plan.groups === 1 && plan.messages <= 50, JSON.stringify(plan)).toBe(true)
  expect(String(found.errorInstance)).toContain('(seed ')
}, 90_000)
