import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeRocketmq } from '../rig/needs.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { busAt } from './support.ts'

await describeRocketmq('one of two brokers that stands still, and takes connections all the same', () => {
  let brokers: RocketmqCluster
  beforeAll(async () => {
    brokers = await startRocketmq({ brokers: 2 })
  }, 90_000)
  afterAll(() => brokers.stop())

  for (const order of ['none', 'key'] as const)
    test(`order '${order}': what the other has is handled meanwhile, and all once it goes on`, async () => {
      const topic = `still_${order}`
      const bus = await busAt(brokers.url)
      const got: string[] = []
      await bus.subscribe(topic, { group: 'g', order, concurrency: 8 }, ({ body }) => void got.push(body as string))
      const keys = Array.from({ length: 12 }, (_, i) => `k${i}`)
      const where = new Map<string, string>()
      for (const key of keys) where.set(key, (await bus.publish(topic, `${key} 0`, { key })).position!.split('/')[0]!)
      expect(new Set(where.values())).toEqual(new Set(['broker-a', 'broker-b']))
      await expect.poll(() => got.length, { timeout: 20_000 }).toBe(12)
      const [, second] = brokers.brokers
      second!.signal('SIGSTOP')
      const sent: Promise<unknown>[] = []
      try {
        const here = keys.filter((key) => where.get(key) === 'broker-a')
        for (const n of [1, 2, 3]) {
          // What belongs to the one that stands still waits for it, and holds up nobody.
          sent.push(...keys.filter((key) => !here.includes(key)).map((key) => bus.publish(topic, `${key} ${n}`, { key })))
          for (const key of here) await bus.publish(topic, `${key} ${n}`, { key })
          await expect.poll(() => here.every((key) => got.includes(`${key} ${n}`)), { timeout: 20_000 }).toBe(true)
        }
      } finally {
        second!.signal('SIGCONT')
      }
      await Promise.all(sent)
      await expect.poll(() => new Set(got).size, { timeout: 40_000 }).toBe(48)
      const { messages } = await bus.admin.browse(topic, { from: 'start', limit: 100 })
      expect(messages.length).toBe(48)
      if (order === 'none') return
      for (const key of keys) {
        const runs = got.filter((text) => text.startsWith(`${key} `))
        expect(runs.filter((text, i) => runs.indexOf(text) === i)).toEqual([0, 1, 2, 3].map((n) => `${key} ${n}`))
      }
    }, 120_000)
})
