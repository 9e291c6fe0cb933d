import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { kafkaBroker } from '../crash/brokers.ts'
import { crashRounds } from '../crash/rounds.ts'
import { Load } from '../nats/load.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('a broker that dies', () => {
  let broker: KafkaNode
  let load: Load | undefined
  beforeAll(async () => {
    broker = await startKafka()
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => broker.stop())

  // Some members are not heard for a session of 6 s: what they had not committed by then comes again, and says so.
  test.each([
    [false, 6000, Number.POSITIVE_INFINITY],
    [true, 30_000, 0],
  ])(
    'by SIGKILL, at random under load: nothing confirmed is lost or stored twice, no key out of order (a definition: %s, sessions of %i ms)',
    async (partitioned, sessionTimeoutMs, mostRepeats) => {
      load = new Load(
        () => broker.url,
        { partitioned },
        (url) => openKafka(url, { ...eager, sessionTimeoutMs }),
      )
      await load.join(3)
      await load.start()
      for (let round = 0; round < 3; round++) {
        await load.calm(300 + Math.random() * 500)
        await broker.kill()
        await broker.start()
        await load.recovered()
      }
      const counts = await load.judge()
      expect(counts.confirmed).toBeGreaterThan(100)
      // The producer numbers what it sends: of what was not answered it learns what became of it.
      expect(counts.unknown).toBe(0)
      expect(counts.repeats).toBeLessThanOrEqual(mostRepeats)
    },
    180_000,
  )

  test('with processes that are killed too: nothing is lost, out of order, in two hands or tried for ever', async () => {
    const outcome = await crashRounds(2, 20_250_102, undefined, kafkaBroker(broker, 2000))
    expect(outcome.violations).toEqual([])
    expect(outcome.confirmed).toBeGreaterThan(30)
    expect(outcome.kills).toBeGreaterThan(4)
  }, 180_000)

  test('members come and go under load: no key is in two hands, and what is given up is not repeated', async () => {
    load = new Load(
      () => broker.url,
      { workMs: 3 },
      (url) => openKafka(url, eager),
    )
    await load.comeAndGo(300)
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(300)
    expect(counts.repeats).toBe(0)
  }, 120_000)
})
