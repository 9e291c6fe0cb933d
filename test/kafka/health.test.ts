import { afterEach, expect, test, vi } from 'vitest'
import type { Cluster } from '../../src/engines/kafka/cluster.ts'
import { Health } from '../../src/engines/kafka/health.ts'

afterEach(() => void vi.useRealTimers())

test('however often a connection breaks, there is one row of looks', async () => {
  vi.useFakeTimers()
  let looks = 0
  const cluster = {
    onLoss: () => {},
    refresh: async () => {
      looks++
      throw new Error('nobody answers')
    },
  }
  const health = new Health(cluster as unknown as Cluster)
  for (let i = 0; i < 10; i++) {
    cluster.onLoss()
    await vi.advanceTimersByTimeAsync(10)
  }
  const before = looks
  await vi.advanceTimersByTimeAsync(1000)
  expect(looks - before).toBe(4)
  health.end()
})
