import { expect, test } from 'vitest'
import { FakeCluster, joined } from './fake-cluster.ts'

test('R5: a batch that is settled again, as its commit failed, takes nothing from a run that has begun meanwhile', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', 'a', 'b')
  const { subscription, deliveries, texts } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['a', 'b'])
  const batch = [
    { kind: 'ack', delivery: deliveries[0]! },
    { kind: 'release', delivery: deliveries[1]!, delayMs: 0 },
  ] as const
  cluster.before.set('OffsetCommit', () => {
    throw cluster.error('REBALANCE_IN_PROGRESS')
  })
  await expect(subscription.settle(batch)).rejects.toMatchObject({ code: 'engine_unavailable' })
  await expect.poll(texts).toEqual(['a', 'b', 'b'])
  cluster.before.delete('OffsetCommit')
  expect(await subscription.settle(batch)).toEqual(['confirmed', 'confirmed'])
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[2]! }])).toEqual(['confirmed'])
  expect(texts()).toEqual(['a', 'b', 'b'])
  // What another run has by now is not this one's to acknowledge.
  expect(cluster.committed.get('t/0')?.offset).toBe(2)
})

test('R4: an acknowledgement of a run that was given back is not taken for the one that runs', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', 'a')
  const { subscription, deliveries, texts } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['a'])
  await subscription.settle([{ kind: 'release', delivery: deliveries[0]!, delayMs: 0 }])
  await expect.poll(texts).toEqual(['a', 'a'])
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[0]! }])).toEqual(['lost'])
  expect(await subscription.settle([{ kind: 'extend', delivery: deliveries[0]!, leaseMs: 1000 }])).toEqual(['lost'])
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[1]! }])).toEqual(['confirmed'])
})
