import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPulsar } from '../../src/engines/pulsar/engine.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { pulsarBroker } from '../crash/brokers.ts'
import { crashRounds } from '../crash/rounds.ts'
import { Load } from '../nats/load.ts'
import { describePulsar } from '../rig/needs.ts'
import { type PulsarNode, startPulsar } from '../rig/pulsar.ts'
import { stockSettings } from '../rig/pulsar-config.ts'
import { eager } from './support.ts'

await describePulsar('a broker that dies', () => {
  let broker: PulsarNode
  let load: Load | undefined
  beforeAll(async () => {
    broker = await startPulsar()
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => broker.stop())

  test('by SIGKILL, at random under load: nothing confirmed is lost, no key out of order', async () => {
    load = new Load(
      () => broker.url,
      { resends: true },
      (url) => openPulsar(url, { ...eager, admin: broker.admin }),
      memoryLedger(),
    )
    await load.join(3)
    await load.start()
    for (let round = 0; round < 2; round++) {
      await load.calm(300 + Math.random() * 500)
      await broker.restart()
      await load.recovered()
    }
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
  }, 180_000)

  test('members come and go under load: no key is in two hands, and what is given up is not repeated', async () => {
    load = new Load(
      () => broker.url,
      { workMs: 3 },
      (url) => openPulsar(url, { ...eager, admin: broker.admin }),
      memoryLedger(),
    )
    await load.comeAndGo(600)
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(300)
    expect(counts.repeats).toBe(0)
  }, 120_000)

  test('with processes that are killed too: nothing is lost, out of order, in two hands or tried for ever', async () => {
    const outcome = await crashRounds(2, 20_250_102, undefined, pulsarBroker(broker, 2000))
    expect(outcome.violations).toEqual([])
    expect(outcome.confirmed).toBeGreaterThan(30)
    expect(outcome.kills).toBeGreaterThan(4)
  }, 180_000)
})

await describePulsar('a broker with its defaults', () => {
  let broker: PulsarNode
  let load: Load | undefined
  beforeAll(async () => {
    broker = await startPulsar({ extra: stockSettings })
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => broker.stop())

  test('forgets in a kill what was acknowledged: nothing confirmed is lost, no key out of order, and no member stands still', async () => {
    load = new Load(
      () => broker.url,
      { resends: true },
      (url) => openPulsar(url, { ...eager, admin: broker.admin }),
      memoryLedger(),
    )
    await load.join(2)
    await load.start()
    for (let round = 0; round < 2; round++) {
      await load.calm(1500)
      await broker.restart()
      await load.recovered()
    }
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
  }, 180_000)
})
