import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPulsar } from '../../src/engines/pulsar/engine.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { Load } from '../nats/load.ts'
import { describePulsar } from '../rig/needs.ts'
import { type PulsarCluster, startPulsarCluster } from '../rig/pulsar-cluster.ts'
import { busAt, eager, fresh } from './support.ts'

const members = 3
/** Of each member, see {@link Load}. */
const inHand = 8
const moves = 4

await describePulsar('two brokers', () => {
  let cluster: PulsarCluster
  let load: Load | undefined
  beforeAll(async () => {
    cluster = await startPulsarCluster()
  }, 180_000)
  afterEach(async () => {
    await load?.end()
    load = undefined
  })
  afterAll(() => cluster?.stop())

  const underLoad = async (): Promise<Load> => {
    load = new Load(
      () => `${cluster.first.url},${cluster.second.address}`,
      { resends: true },
      (url) => openPulsar(url, { ...eager, admin: cluster.first.admin }),
      memoryLedger(),
    )
    await load.join(members)
    await load.start()
    await load.recovered()
    return load
  }

  test('a topic is found at the broker that has it, whichever is asked', async () => {
    const topics = await Promise.all([cluster.first, cluster.second].map(async (node) => ({ node, topic: fresh('found') })))
    for (const asked of [cluster.first, cluster.second]) {
      const bus = await busAt(asked.url, { admin: asked.admin })
      for (const { node, topic } of topics) {
        await cluster.move(topic, node)
        const got = Promise.withResolvers<unknown>()
        const work = await bus.subscribe(topic, { group: 'g' }, ({ body }) => got.resolve(body))
        await bus.publish(topic, { by: asked.address })
        expect(await got.promise).toEqual({ by: asked.address })
        await expect.poll(() => bus.admin.lag(topic, 'g')).toBe(0)
        await work.close()
      }
    }
  }, 60_000)

  test('a topic goes from one to the other under load: nothing is lost, no key out of order, and only what was in hand comes again', async () => {
    const { harness } = await underLoad()
    for (let move = 0; move < moves; move++) {
      const holder = await cluster.holderOf(harness.topic)
      const other = holder === cluster.first ? cluster.second : cluster.first
      await cluster.move(harness.topic, other)
      await load!.recovered()
      await sleep(300)
    }
    const counts = await load!.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
    expect(counts.unknown).toBe(0)
    // An acknowledgement on its way may be lost, and another member be given the key.
    expect(counts.repeats).toBeLessThanOrEqual(moves * members * inHand)
  }, 120_000)

  test('SIGKILL of the broker that has the topic: the other takes it, nothing confirmed is lost, no key out of order', async () => {
    const { harness } = await underLoad()
    await cluster.move(harness.topic, cluster.second)
    await load!.recovered()
    await cluster.second.kill()
    await load!.recovered()
    expect(await cluster.holderOf(harness.topic)).toBe(cluster.first)
    const counts = await load!.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
  }, 120_000)
})
