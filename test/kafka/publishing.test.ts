import { Admin } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { Producer } from '../../src/engines/kafka/producing.ts'
import { Publishing } from '../../src/engines/kafka/publishing.ts'
import { Topics } from '../../src/engines/kafka/topics.ts'
import { type Bus, connect } from '../../src/index.ts'
import { outgoing } from '../../src/testing/seat.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { FakeCluster } from './fake-cluster.ts'
import { eager } from './support.ts'

test('R1: a partitioner that throws, or gives what is none, fails its own messages and no other', async () => {
  const cluster = new FakeCluster({
    partitioner: (topic) => {
      if (topic === 'throws') throw new Error('no idea')
      return (topic === 'other' ? 'murmur' : undefined) as undefined
    },
  })
  const topics = ['good', 'throws', 'other']
  for (const topic of topics) cluster.make(topic, 4)
  const producer = new Producer(cluster, 1_000_000)
  const publishing = new Publishing(cluster, new Topics(cluster), producer, 1_000_000, 1_000_000)
  const outcomes = await publishing.publish(topics.map((topic) => outgoing(topic, 'x', { key: 'k' })))
  expect(outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.error.message))).toEqual([
    'ok',
    'no idea',
    expect.stringContaining("kafka.partitioner gave murmur for topic 'other'"),
  ])
  await producer.close()
})

await describeKafka('the way out', () => {
  let broker: KafkaNode
  let bus: Bus
  beforeAll(async () => {
    broker = await startKafka()
    bus = await connect(broker.url, { kafka: eager })
  }, 90_000)
  afterAll(async () => {
    await bus.close()
    await broker.stop()
  })

  test('R1: what a topic takes one by one and not at once is sent in parts; what it never takes is refused alone', async () => {
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker.address] })
    await admin.createTopics({ topics: ['narrow'], partitions: 2, configs: [{ name: 'max.message.bytes', value: '10000' }] })
    await admin.close()
    const bodies = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(i === 7 ? 20_000 : 3000, '.'))
    const outcomes = await bus.publishMany('narrow', bodies, { key: 'one' })
    expect(outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.error.code))).toEqual(
      bodies.map((_, i) => (i === 7 ? 'message_too_large' : 'ok')),
    )
    const { messages } = await bus.admin.browse('narrow', { limit: 100 })
    expect(messages.map(({ body }) => Number.parseInt(body as string, 10))).toEqual(bodies.map((_, i) => i).filter((i) => i !== 7))
  })

  test.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)('%s goes out and comes in', async (compression) => {
    await using packed = await connect(broker.url, { kafka: { ...eager, compression } })
    const bodies = Array.from({ length: 50 }, (_, i) => `${i} `.repeat(200))
    for (const outcome of await packed.publishMany(`packed.${compression}`, bodies, { key: 'k' })) expect(outcome.ok).toBe(true)
    const got: unknown[] = []
    await bus.subscribe(`packed.${compression}`, { group: 'g', order: 'key' }, ({ body }) => void got.push(body))
    await expect.poll(() => got).toEqual(bodies)
  })

  test('R1: a topic that is deleted meanwhile is made anew, and takes what comes', async () => {
    await bus.publish('again', 1)
    await using other = await connect(broker.url, { kafka: eager })
    await other.admin.topics()
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker.address] })
    await admin.deleteTopics({ topics: ['again'] })
    await admin.close()
    await bus.publish('again', 2)
    const { messages } = await bus.admin.browse('again')
    expect(messages.map(({ body }) => body)).toEqual([2])
  })

  test('R3: what the broker deletes by itself of topics made elsewhere it deletes of none made here', async () => {
    const strict = await startKafka({ extra: { 'log.retention.bytes': '1000', 'log.cleanup.policy': 'compact' } })
    onTestFinished(() => strict.stop())
    await using there = await connect(strict.url, { kafka: eager })
    await there.publish('kept', 1)
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [strict.address] })
    const names = ['retention.ms', 'retention.bytes', 'cleanup.policy']
    const [found] = await admin.describeConfigs({
      resources: [{ resourceType: 2, resourceName: 'kept', configurationKeys: names }],
    } as never)
    await admin.close()
    expect(names.map((name) => found!.configs.find((config) => config.name === name)!.value)).toEqual(['-1', '-1', 'delete'])
  }, 90_000)

  test('R4: a ledger whose records the broker would delete is told of', async () => {
    const other = await startKafka()
    onTestFinished(() => other.stop())
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [other.address] })
    await admin.createTopics({ topics: ['_cozebus.ledger'], partitions: 1, configs: [{ name: 'cleanup.policy', value: 'delete' }] })
    await admin.close()
    await using there = await connect(other.url, { kafka: eager })
    const told: string[] = []
    const hear = ({ message }: Error): void => void told.push(message)
    process.on('warning', hear)
    onTestFinished(() => void process.off('warning', hear))
    await there.admin.deadLetters('any', 'g').count()
    await expect.poll(() => told).toContainEqual(expect.stringMatching(/_cozebus\.ledger.*cleanup\.policy=compact/))
  }, 90_000)
})
