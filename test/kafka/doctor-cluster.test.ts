import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { type KafkaCluster, startKafkaCluster } from '../rig/kafka-cluster.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('what the doctor sees of a cluster', () => {
  let cluster: KafkaCluster
  beforeAll(async () => {
    cluster = await startKafkaCluster()
  }, 180_000)
  afterAll(() => cluster?.stop())

  test('the doctor names copies that are away, and topics with one copy', async () => {
    await using bus = await connect(cluster.url, { kafka: { ...eager, replicas: 1 } })
    await using safe = await connect(cluster.url, { kafka: eager })
    await bus.publish('single', 1)
    await safe.publish('copied', 1)
    const found = async (what: string) =>
      (await safe.diagnose()).filter(({ check, detail }) => check === 'topic' && detail.startsWith(`${what}:`)).map(({ level }) => level)
    await expect.poll(() => found('copied')).toEqual([])
    expect(await found('single')).toEqual(['warning'])
    const dead = await cluster.leaderOf('copied', 0)
    await dead.kill()
    await expect.poll(() => found('copied'), { timeout: 60_000 }).toEqual(['problem'])
    await dead.start({ alone: false })
    await cluster.ready()
    await expect.poll(() => found('copied'), { timeout: 90_000 }).toEqual([])
  }, 240_000)
})
