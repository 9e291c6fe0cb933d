import { expect, onTestFinished, test } from 'vitest'
import { Committing } from '../../src/engines/kafka/committing.ts'
import type { Membership } from '../../src/engines/kafka/membership.ts'
import { Part } from '../../src/engines/kafka/part.ts'
import { FakeCluster, joined } from './fake-cluster.ts'

function partOf(topic: string, records: number): Part {
  const source = { storage: topic, filter: undefined, lanes: topic, from: 'earliest' } as const
  const part = new Part({ topic, topicId: topic, partition: 0, source, epoch: 1 }, { offset: 0, metadata: '' }, () => undefined)
  const read = (offset: number) => ({ offset, timestampMs: 1, key: null, value: Buffer.from('x'), headers: [], size: 10 })
  part.push(
    Array.from({ length: records }, (_, offset) => read(offset)),
    records,
  )
  return part
}

/** A member with ten messages of a partition, of which it has committed that nothing is settled. */
async function committed() {
  const cluster = new FakeCluster()
  const part = partOf('t', 10)
  const membership = { identity: { generation: 1, memberId: 'm' } } as Membership
  const committing = new Committing(cluster, 'g', membership, new Map([[part.scope, part]]), () => {})
  onTestFinished(() => committing.end())
  await committing.commit()
  return { cluster, part, committing }
}

test('R8: a partition that was to go, and stays after a commit that failed, is handed out again', async () => {
  const { cluster, part, committing } = await committed()
  expect(part.take(0)).toBeDefined()
  part.leaving = true
  cluster.before.set('OffsetCommit', () => {
    throw cluster.error('REBALANCE_IN_PROGRESS')
  })
  await expect(committing.commit()).rejects.toThrow()
  cluster.before.clear()
  part.leaving = false
  await committing.commit()
  expect(part.wantsMark).toBe(false)
  expect(part.take(0)).toBeDefined()
})

test('R8: what the broker took without a word of it is said again once it is not so any more', async () => {
  const { cluster, part, committing } = await committed()
  const { metadata } = part.mark()
  part.leaving = true
  const taken = cluster.onOffsetCommit.bind(cluster)
  cluster.onOffsetCommit = (...args) => {
    taken(...args)
    throw new Error('the connection broke')
  }
  await expect(committing.commit()).rejects.toThrow()
  cluster.onOffsetCommit = taken
  expect(cluster.committed.get('t/0')).toEqual({ offset: 0, metadata: '' })
  part.leaving = false
  await committing.commit()
  expect(cluster.committed.get('t/0')).toEqual({ offset: 0, metadata })
})

test('R8: what was committed last is known longest', async () => {
  const parts = new Map<string, Part>()
  const membership = { identity: { generation: 1, memberId: 'm' } } as Membership
  const committing = new Committing(new FakeCluster(), 'g', membership, parts, () => {})
  onTestFinished(() => committing.end())
  const commitOf = (...topics: string[]): Promise<void> => {
    for (const topic of topics) parts.set(`${topic}/0`, partOf(topic, 1))
    return committing.commit()
  }
  await commitOf('t')
  await commitOf(...Array.from({ length: 1999 }, (_, i) => `other ${i}`))
  const part = parts.get('t/0')!
  const delivery = part.take(0)!
  part.ack(delivery)
  await committing.commit()
  await commitOf('one too many')
  expect(committing.committedOf(delivery)).toBe(true)
})

test.each(['TOPIC_AUTHORIZATION_FAILED', 'UNKNOWN_TOPIC_OR_PARTITION'])(
  'R8: a topic whose commits are refused (%s) holds up no other, is told, and is committed once it may be',
  async (refusal) => {
    const cluster = new FakeCluster()
    for (const topic of ['good', 'shut']) {
      cluster.make(topic)
      cluster.put(topic, `${topic} 1`)
    }
    const { subscription, deliveries, texts, warnings } = await joined(cluster, ['good', 'shut'])
    await expect.poll(() => texts().sort()).toEqual(['good 1', 'shut 1'])
    cluster.refusals.set('shut/0', refusal)
    const batch = deliveries.map((delivery) => ({ kind: 'ack', delivery }) as const)
    // What was not committed is not said to be.
    expect(await subscription.settle(batch)).toEqual(deliveries.map(({ storage }) => (storage === 'shut' ? 'sent' : 'confirmed')))
    expect(cluster.committed.get('good/0')?.offset).toBe(1)
    expect(warnings).toEqual([expect.stringMatching(/'shut'.*cannot be committed/)])
    cluster.put('good', 'good 2')
    await expect.poll(texts).toContain('good 2')
    const second = deliveries.find(({ body }) => Buffer.from(body).toString() === 'good 2')!
    expect(await subscription.settle([{ kind: 'ack', delivery: second }])).toEqual(['confirmed'])
    expect(warnings.length).toBe(1)
    cluster.refusals.clear()
    await expect.poll(() => cluster.committed.get('shut/0')?.offset).toBe(1)
  },
)

test('what is settled in a moment shares commits, and what is about to be handed out waits for none of them', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', ...Array.from({ length: 300 }, (_, i) => `${i}`))
  const { subscription, deliveries } = await joined(cluster, ['t'])
  await expect.poll(() => deliveries.length).toBe(300)
  const before = cluster.times('OffsetCommit')
  const begun = performance.now()
  const settled: Promise<unknown>[] = []
  for (const delivery of deliveries) {
    settled.push(subscription.settle([{ kind: 'ack', delivery }]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(settled)
  expect(cluster.committed.get('t/0')?.offset).toBe(300)
  // One each five milliseconds, and one at either end.
  expect(cluster.times('OffsetCommit') - before).toBeLessThanOrEqual(2 + (performance.now() - begun) / 5)
})

test('R8: a broker that takes less beside an offset is told less, and nothing is repeated at once', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', ...Array.from({ length: 400 }, (_, i) => `${i}`))
  const taken = cluster.onOffsetCommit.bind(cluster)
  cluster.onOffsetCommit = (...args) => {
    for (const { partitions } of args[4])
      for (const { partitionIndex, committedMetadata } of partitions)
        if (committedMetadata.length > 100) cluster.refusals.set(`t/${partitionIndex}`, 'OFFSET_METADATA_TOO_LARGE')
    const answer = taken(...args)
    cluster.refusals.clear()
    return answer
  }
  const { subscription, deliveries } = await joined(cluster, ['t'])
  await expect.poll(() => deliveries.length).toBe(400)
  const odd = deliveries.filter((_, i) => i % 2 === 1).map((delivery) => ({ kind: 'ack', delivery }) as const)
  expect(new Set(await subscription.settle(odd))).toEqual(new Set(['confirmed']))
  const { offset, metadata } = cluster.committed.get('t/0')!
  expect(offset).toBe(0)
  expect(metadata.length).toBeLessThanOrEqual(100)
  expect(metadata.length).toBeGreaterThan(20)
})
