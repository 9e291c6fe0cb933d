import { expect, test } from 'vitest'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { FakeCluster, joined, memberOf } from './fake-cluster.ts'

/** Every answer to a fetch has a member look at all that it has. */
function noMore(cluster: FakeCluster): void {
  cluster.before.set('Fetch', () => new Promise(() => {}))
}

test('R7: past 64 MiB that wait for their next try nothing new comes of their partitions, but what is due, and what is of others', async () => {
  const cluster = new FakeCluster()
  cluster.make('t', 2)
  cluster.put('t', ...Array.from({ length: 6 }, (_, i) => `${i}`.padEnd(13 * 1024 * 1024, '.')))
  const { subscription, deliveries, texts } = memberOf(cluster, ['t'])
  await subscription.start()
  const came = (): string[] => texts().map((text) => text.slice(0, 5))
  for (let i = 0; i < 5; i++) {
    subscription.grant(1, 1e9)
    await expect.poll(() => came().at(-1)).toBe(`${i}....`)
    await subscription.settle([{ kind: 'release', delivery: deliveries[i]!, delayMs: i < 4 ? 600_000 : 500 }])
  }
  cluster.logs.get('t')!.partitions[1]!.push('other')
  subscription.grant(2, 1e9)
  await expect.poll(() => came().slice(5).sort()).toEqual(['4....', 'other'])
  await subscription.settle(deliveries.slice(5).map((delivery) => ({ kind: 'ack', delivery })))
  subscription.grant(1, 1e9)
  await expect.poll(() => came().slice(7)).toEqual(['5....'])
}, 30_000)

test('R7: what waits no more, as it is handed out again, makes room at once', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', '.'.repeat(64 * 1024 * 1024), 'next')
  const { subscription, deliveries } = memberOf(cluster, ['t'])
  await subscription.start()
  subscription.grant(1, 1e9)
  await expect.poll(() => deliveries.length).toBe(1)
  noMore(cluster)
  await subscription.settle([{ kind: 'release', delivery: deliveries[0]!, delayMs: 300 }])
  subscription.grant(10, 1e9)
  await expect
    .poll(() => deliveries.map(({ position, redelivered }) => [position, redelivered]).slice(1))
    .toEqual([
      ['0:0', true],
      ['0:1', false],
    ])
}, 30_000)

test('R7: what is overdue in a partition that is to go holds up the next try of no other', async () => {
  const { encodeConsumerProtocolAssignment } = await loadKafka()
  const cluster = new FakeCluster({ handoverMs: 120_000 })
  cluster.make('t', 2)
  const { partitions } = cluster.logs.get('t')!
  partitions[0]!.push('runs', 'overdue')
  partitions[1]!.push('later')
  const { subscription, deliveries, texts } = await joined(cluster, ['t'])
  await expect.poll(() => texts().sort()).toEqual(['later', 'overdue', 'runs'])
  const assignedPartitions = [{ topic: 't', partitions: [1] }]
  cluster.onSyncGroup = () => ({ assignment: encodeConsumerProtocolAssignment({ version: 0, assignedPartitions }) })
  cluster.before.set('Heartbeat', () => {
    cluster.before.delete('Heartbeat')
    throw cluster.error('REBALANCE_IN_PROGRESS')
  })
  await expect.poll(() => subscription.parts.get('t/0')?.leaving).toBe(true)
  noMore(cluster)
  const released = (text: string, delayMs: number) => {
    const delivery = deliveries.find(({ body }) => Buffer.from(body).toString() === text)!
    return { kind: 'release', delivery, delayMs } as const
  }
  await subscription.settle([released('overdue', 0), released('later', 500)])
  await expect.poll(() => texts().slice(3)).toEqual(['later'])
}, 30_000)

test('R7: partitions of which nothing new can come leave the others room to be read', async () => {
  const cluster = new FakeCluster()
  cluster.make('t', 18)
  const large = '.'.repeat(1024 * 1024)
  const { partitions } = cluster.logs.get('t')!
  const [huge, idle] = [partitions[0]!, partitions[17]!]
  huge.push('.'.repeat(64 * 1024 * 1024))
  for (const partition of partitions.slice(1, 17)) partition.push('small', large)
  const { subscription, deliveries, texts } = memberOf(cluster, ['t'])
  await subscription.start()
  subscription.grant(17, 1e9)
  await expect.poll(() => deliveries.length).toBe(17)
  expect(texts().filter((text) => text === 'small').length).toBe(16)
  await subscription.settle(deliveries.map((delivery) => ({ kind: 'release', delivery, delayMs: 600_000 })))
  idle.push('other')
  subscription.grant(1, 1e9)
  await expect.poll(() => texts()[17]).toBe('other')
}, 30_000)

test('R8: a topic whose commits are refused leaves the others room to be read', async () => {
  const cluster = new FakeCluster()
  cluster.make('shut', 16)
  cluster.make('open')
  const { warnings, texts } = await joined(cluster, ['shut', 'open'])
  for (const [i, partition] of cluster.logs.get('shut')!.partitions.entries()) {
    cluster.refusals.set(`shut/${i}`, 'TOPIC_AUTHORIZATION_FAILED')
    partition.push('.'.repeat(1024 * 1024))
  }
  await expect.poll(() => warnings).toEqual([expect.stringMatching(/'shut'.*cannot be committed/)])
  cluster.put('open', 'other')
  await expect.poll(texts).toEqual(['other'])
})

test('R7: what waits for its next try keeps nothing in the memory of what it came with', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', 'small')
  const { subscription, deliveries, texts } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['small'])
  expect(deliveries[0]!.body.buffer.byteLength).toBeGreaterThan(5)
  await subscription.settle([{ kind: 'release', delivery: deliveries[0]!, delayMs: 0 }])
  await expect.poll(texts).toEqual(['small', 'small'])
  expect(deliveries[1]!.body.buffer.byteLength).toBe(5)
  // A handler sees the same at each try.
  expect(deliveries.map(({ body }) => body.constructor)).toEqual([Buffer, Buffer])
})

test('R7: a topic of which nothing comes keeps no other waiting that has room again', async () => {
  const cluster = new FakeCluster()
  cluster.make('idle')
  cluster.make('busy')
  cluster.put('busy', ...Array.from({ length: 8 }, (_, i) => `${i}`.padEnd(512 * 1024, '.')))
  // As a broker does that has nothing new: it does not answer yet.
  let waits = 0
  cluster.before.set('Fetch', (...args) => {
    const [, , , , , , topics] = args as { topicId: string }[][]
    if (topics!.some(({ topicId }) => topicId === 'id of busy')) return undefined
    waits++
    return new Promise(() => {})
  })
  // An answer of the broker holds as much as was asked for.
  const whole = cluster.onFetch.bind(cluster)
  cluster.onFetch = async (...args) => {
    const answer = await whole(...args)
    for (const { partitions } of answer.responses) for (const { records } of partitions) for (const batch of records) cut(batch, 2)
    return answer
  }
  const { subscription, texts } = memberOf(cluster, ['idle', 'busy'])
  await subscription.start()
  await expect.poll(() => waits).toBe(1)
  subscription.grant(100, 1e9)
  await expect.poll(() => texts().map(([first]) => first)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7'])
})

function cut(batch: { records: readonly unknown[]; lastOffsetDelta: number }, length: number): void {
  batch.records = batch.records.slice(0, length)
  batch.lastOffsetDelta = batch.records.length - 1
}
