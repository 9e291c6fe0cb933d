import { Admin } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { type KafkaCluster, startKafkaCluster } from '../rig/kafka-cluster.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('copies', () => {
  let cluster: KafkaCluster
  beforeAll(async () => {
    // One that stands still counts as in step for the whole test.
    cluster = await startKafkaCluster({ extra: { 'replica.lag.time.max.ms': '60000', 'broker.session.timeout.ms': '60000' } })
  }, 120_000)
  afterAll(() => cluster?.stop())

  test('R1: what was written and not copied in time may be there: it is unknown, and the next one is no duplicate of it', async () => {
    const [first, second] = cluster.nodes
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [first!.address] })
    await admin.createTopics({ topics: ['copied'], assignments: [{ partition: 0, brokers: [1, 2] }] as never })
    await admin.close()
    await using bus = await connect(first!.url, { kafka: { ...eager, publishTimeoutMs: 3000 } })
    await bus.publish('copied', 'a', { key: 'k' })
    second!.signal('SIGSTOP')
    const outcome = await bus.publish('copied', 'b', { key: 'k' }).catch((error: unknown) => error)
    second!.signal('SIGCONT')
    expect(outcome).toMatchObject({ code: 'publish_unknown' })
    await bus.publish('copied', 'c', { key: 'k' })
    const stored = (await bus.admin.browse('copied')).messages.map(({ body }) => body)
    expect(stored).toEqual(['a', 'b', 'c'])
  }, 90_000)
})
