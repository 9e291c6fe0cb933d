import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Cluster } from '../../src/engines/kafka/cluster.ts'
import { Producer } from '../../src/engines/kafka/producing.ts'
import type { Sending } from '../../src/engines/kafka/records.ts'
import { resolveTarget } from '../../src/engines/kafka/target.ts'
import { Topics } from '../../src/engines/kafka/topics.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { FakeCluster } from './fake-cluster.ts'
import { eager } from './support.ts'

test('R1: what became of one batch is not known: the others that are still tried are not given up with it', async () => {
  const cluster = new FakeCluster({ publishTimeoutMs: 1500 })
  for (const topic of ['one', 'two']) cluster.make(topic)
  await cluster.refresh(['one', 'two'])
  const producer = new Producer(cluster, 1_000_000)
  const record = (topic: string): Sending => ({
    topic,
    partition: 0,
    key: undefined,
    value: Buffer.from('x'),
    headers: [],
    timestamp: Date.now(),
  })
  let tries = 0
  cluster.before.set('Produce', () => {
    tries++
    throw new Error('the connection broke')
  })
  const first = producer.send(record('one'))
  await expect.poll(() => tries).toBeGreaterThan(2)
  await sleep(1000)
  const second = producer.send(record('two'))
  expect(await first).toMatchObject({ ok: false, error: { code: 'publish_unknown' } })
  cluster.before.clear()
  expect(await second).toMatchObject({ ok: true })
  // What comes after the one that is not known is counted anew.
  expect(await producer.send(record('one'))).toMatchObject({ ok: true })
  expect(cluster.producers).toBe(2)
  await producer.close()
})

await describeKafka('a producer', () => {
  let broker: KafkaNode
  beforeAll(async () => {
    broker = await startKafka()
  }, 90_000)
  afterAll(() => broker.stop())

  const record = (topic: string, value: string): Sending => ({
    topic,
    partition: 0,
    key: undefined,
    value: Buffer.from(value),
    headers: [],
    timestamp: Date.now(),
  })

  test('R1: what waits for a leader has its time too, and nobody is asked without a pause meanwhile', async () => {
    const cluster = new Cluster(await loadKafka(), resolveTarget(broker.url, { ...eager, publishTimeoutMs: 1000 }))
    const producer = new Producer(cluster, 1_000_000)
    await new Topics(cluster).ensure('leaderless')
    expect(await producer.send(record('leaderless', 'a'))).toMatchObject({ ok: true })
    await broker.kill()
    // As a reader of the same topic does whose connection breaks.
    cluster.forgetTopic('leaderless')
    let looks = 0
    const refresh = cluster.refresh.bind(cluster)
    cluster.refresh = (names, forMs) => {
      looks++
      return refresh(names, forMs)
    }
    const sent = producer.send(record('leaderless', 'b'))
    const outcome = await Promise.race([sent, sleep(4000, 'still waiting')])
    expect(outcome).toMatchObject({ ok: false, error: { code: 'engine_unavailable' } })
    expect(looks).toBeLessThan(30)
    await producer.close()
    expect(await Promise.race([producer.send(record('leaderless', 'c')), sleep(1000, 'never')])).toMatchObject({
      ok: false,
      error: { code: 'closed' },
    })
    await cluster.close()
    await broker.start()
  }, 60_000)
})
