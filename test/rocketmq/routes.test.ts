import { afterAll, beforeAll, expect, test } from 'vitest'
import { request } from '../../src/engines/rocketmq/protocol.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { askRemoting } from '../rig/remoting.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { busAt } from './support.ts'

await describeRocketmq('a topic gets more queues', () => {
  let brokers: RocketmqCluster
  beforeAll(async () => {
    brokers = await startRocketmq()
  }, 90_000)
  afterAll(() => brokers.stop())

  /** As `mqadmin updateTopic` does it. */
  async function giveQueues(topic: string, count: number): Promise<void> {
    const { code } = await askRemoting(brokers.brokers[0]!.port, request.createTopic, {
      topic,
      defaultTopic: 'TBW102',
      readQueueNums: String(count),
      writeQueueNums: String(count),
      perm: '6',
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: '0',
      order: 'false',
    })
    expect(code).toBe(0)
  }

  const queueOf = (position: string | undefined): number => Number(/\/(\d+):/.exec(position!)![1])

  for (const order of ['none', 'key'] as const)
    test(`order '${order}': members and publishers that are there go on with all of them, and keys stay where they were`, async () => {
      const topic = `more_${order}`
      const [publisher, ...readers] = [await busAt(brokers.url), await busAt(brokers.url), await busAt(brokers.url)]
      const got: string[] = []
      // What was new is that of queues which come later too.
      for (const bus of readers) await bus.subscribe(topic, { group: 'g', order, from: 'new' }, ({ body }) => void got.push(body as string))
      const sent: string[] = []
      const send = async (text: string, key?: string): Promise<number> => {
        sent.push(text)
        return queueOf((await publisher!.publish(topic, text, key === undefined ? {} : { key })).position)
      }
      const keys = ['a', 'b', 'c', 'd', 'e', 'f']
      const before = new Map<string, number>()
      for (const key of keys) before.set(key, await send(`${key} 0`, key))
      await giveQueues(topic, 12)
      const used = new Set<number>()
      let n = 0
      await expect
        .poll(
          async () => {
            n++
            for (const key of keys) expect(await send(`${key} ${n}`, key)).toBe(before.get(key))
            used.add(await send(`loose ${n}`))
            return [4, 5, 6, 7, 8, 9, 10, 11].every((queue) => used.has(queue))
          },
          { timeout: 60_000, interval: 100 },
        )
        .toBe(true)
      await expect.poll(() => sent.filter((text) => !got.includes(text)), { timeout: 30_000 }).toEqual([])
      expect(got.length).toBe(sent.length)
      if (order === 'none') return
      for (const key of keys) {
        const runs = got.filter((text) => text.startsWith(`${key} `))
        expect(runs).toEqual(sent.filter((text) => text.startsWith(`${key} `)))
      }
    }, 120_000)
})
