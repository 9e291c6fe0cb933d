import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openRocketmq } from '../../src/engines/rocketmq/engine.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { rocketmqBroker, rocketmqWithoutOrder } from '../crash/brokers.ts'
import { crashRounds } from '../crash/rounds.ts'
import { Load } from '../nats/load.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { eager } from './support.ts'

/** How far groups are is written down each five seconds otherwise: that much comes again where owner and broker die together. */
const settings = { extra: { flushConsumerOffsetInterval: '100' } }

await describeRocketmq('a broker that dies', () => {
  let brokers: RocketmqCluster
  let load: Load | undefined
  beforeAll(async () => {
    brokers = await startRocketmq(settings)
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => brokers.stop())

  test('by SIGKILL, at random under load: nothing confirmed is lost or stored twice, no key out of order', async () => {
    load = new Load(
      () => brokers.url,
      {},
      (url) => openRocketmq(url, eager),
      memoryLedger(),
    )
    await load.join(3)
    await load.start()
    for (let round = 0; round < 2; round++) {
      await load.calm(300 + Math.random() * 500)
      await brokers.restart()
      await load.recovered()
    }
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
    // What was not answered is looked for in its queue.
    expect(counts.unknown).toBe(0)
  }, 180_000)

  test('members come and go under load: no key is in two hands, and what is given up is not repeated', async () => {
    load = new Load(
      () => brokers.url,
      { workMs: 3 },
      // Nobody is to give up what runs because a busy machine stood still for half a second.
      (url) => openRocketmq(url, { ...eager, handoverMs: 10_000 }),
      memoryLedger(),
    )
    await load.comeAndGo(300)
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(300)
    expect(counts.repeats).toBe(0)
  }, 120_000)

  test.each([
    ['out of order, in two hands', rocketmqBroker],
    ['repeated', rocketmqWithoutOrder],
  ])(
    'with processes that are killed too: nothing is lost, %s or tried for ever',
    async (_, broker) => {
      // Of its own: what is stored there is judged.
      await using own = await startRocketmq(settings)
      const outcome = await crashRounds(2, 20_250_102, undefined, broker(own, 2000))
      expect(outcome.violations).toEqual([])
      expect(outcome.confirmed).toBeGreaterThan(30)
      expect(outcome.kills).toBeGreaterThan(4)
    },
    180_000,
  )
})
