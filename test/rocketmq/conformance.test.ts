import { afterAll, describe, test } from 'vitest'
import { openRocketmq } from '../../src/engines/rocketmq/engine.ts'
import type { Subject } from '../../src/testing/harness.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { conformance, type SuiteTest } from '../../src/testing/suite.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { startRocketmq } from '../rig/rocketmq.ts'
import { eager } from './support.ts'

function run(tests: readonly SuiteTest[]): void {
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run(), 120_000)
}

await describeRocketmq('the RocketMQ engine', async () => {
  // What is known of groups is on disk after a tenth of a second, not five: a kill repeats as little.
  const brokers = await startRocketmq({ extra: { flushConsumerOffsetInterval: '100' } })
  afterAll(() => brokers.stop())
  // What is not acknowledged in time is looked for by the broker every few seconds.
  const subject: Subject = { name: 'rocketmq', ledger: memoryLedger(), patienceMs: 20_000, open: () => openRocketmq(brokers.url, eager) }
  const calm = await conformance(subject)
  const restarting = await conformance({ ...subject, restart: () => brokers.restart() })
  const after = restarting.filter(({ skip }, i) => skip === undefined && calm[i]!.skip !== undefined)
  const covered = new Set(after.map(({ name }) => name))
  const disturbed = restarting.filter(({ name }) => name.includes('random workload'))

  // Cases mostly wait, each on topics of its own.
  describe.concurrent('as it is', () => run(calm.filter(({ name }) => !covered.has(name))))
  describe('that is restarted', () => run([...after, ...disturbed]))
})
