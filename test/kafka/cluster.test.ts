import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { topicName } from '../../src/engines/kafka/names.ts'
import { Load } from '../nats/load.ts'
import { type KafkaCluster, startKafkaCluster } from '../rig/kafka-cluster.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('a cluster of three under load', () => {
  let cluster: KafkaCluster
  let load: Load
  beforeAll(async () => {
    cluster = await startKafkaCluster()
  }, 180_000)
  afterEach(() => load?.end())
  afterAll(() => cluster?.stop())

  const under = async (): Promise<string> => {
    load = new Load(
      () => cluster.url,
      { partitioned: true },
      // As it is where nothing is said: no member is unheard for so long.
      (url) => openKafka(url, { ...eager, sessionTimeoutMs: 30_000 }),
    )
    await load.join(3)
    await load.start()
    await load.recovered()
    return topicName(load.storage)
  }

  const judged = async (): Promise<void> => {
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(100)
    expect(counts.unknown).toBe(0)
    expect(counts.repeats).toBe(0)
  }

  test('SIGKILL of the node that leads a partition, each time of another: nothing confirmed is lost or repeated, no key out of order', async () => {
    const topic = await under()
    for (let partition = 0; partition < 3; partition++) {
      const leader = await cluster.leaderOf(topic, partition)
      await leader.kill()
      await load.recovered()
      await leader.start({ alone: false })
      await cluster.ready()
      await cluster.leaderOf(topic, partition, { inStep: true })
      await load.recovered()
    }
    await judged()
  }, 240_000)

  test('a restart of one after the other, as an upgrade does: nothing confirmed is lost or repeated, no key out of order', async () => {
    const topic = await under()
    for (const node of cluster.nodes) {
      await node.kill('SIGTERM')
      await load.recovered()
      await node.start({ alone: false })
      await cluster.ready()
      await cluster.leaderOf(topic, 0, { inStep: true })
      await load.recovered()
    }
    await judged()
  }, 240_000)
})
