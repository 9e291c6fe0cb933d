import { expect, test } from 'vitest'
import { FakeCluster, joined, memberOf } from './fake-cluster.ts'

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
