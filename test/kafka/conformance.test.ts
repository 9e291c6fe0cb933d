import { afterAll, beforeEach, test } from 'vitest'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { conformance } from '../../src/testing/suite.ts'
import { startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('the Kafka engine', async () => {
  const broker = await startKafka()
  afterAll(() => broker.stop())
  const tests = await conformance({
    name: 'kafka',
    patienceMs: 20_000,
    open: () => openKafka(broker.url, eager),
    restart: () => broker.restart(),
  })
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run(), 120_000)
  // Without a broker each of them would wait its two minutes.
  beforeEach(() => {
    if (!broker.runs) throw new Error(`the broker has ended:\n${broker.logs().slice(-3000)}`)
  })
})
