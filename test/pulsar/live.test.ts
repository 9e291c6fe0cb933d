import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { PulsarLive } from '../../src/engines/pulsar/live.ts'
import type { Topics } from '../../src/engines/pulsar/topics.ts'
import { TopicWatch } from '../../src/engines/topic-watch.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { entry, FakeBroker } from './fake-broker.ts'
import { busAt, fresh } from './support.ts'

test('who listens to a pattern follows a topic that appears, also one that could not be joined at first', async () => {
  const broker = new FakeBroker()
  const names: string[] = []
  const topics = { ensure: async () => ['t'], all: async () => new Map(names.map((name) => [name, {}])) } as unknown as Topics
  const watch = new TopicWatch(async () => [...names])
  const live = new PulsarLive({ cluster: broker.cluster, topics, watch })
  onTestFinished(() => live.close())
  const got: string[] = []
  await live.subscribe('*', (batch) => void got.push(...batch.map(({ body }) => Buffer.from(body).toString())))
  let refusals = 0
  broker.onAsk = (command) => (command === 'subscribe' && refusals++ < 2 ? Promise.reject(new Error('not now')) : undefined)
  broker.log.push(entry(1))
  names.push('t')
  await expect.poll(() => got).toEqual(['1'])
  expect(refusals).toBe(3)
})

await describePulsar('who listens to a pattern', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())

  test('gets each message of a topic that appears once, though the topic is unloaded and the broker killed', async () => {
    const bus = await busAt(broker.url, { admin: broker.admin })
    const name = fresh('found')
    const got: unknown[] = []
    await bus.subscribe(`${name}.*`, ({ body }) => void got.push(body))
    const topic = `${name}.later`
    for (const n of [1, 2, 3]) await bus.publish(topic, n)
    await expect.poll(() => got).toEqual([1, 2, 3])
    await broker.ask(`/admin/v2/persistent/public/default/${topic}/unload`, { method: 'PUT' })
    const after = async (n: number): Promise<void> => {
      // At most once: what is sent while it is away it may miss.
      await expect
        .poll(async () => {
          await bus.publish(topic, n)
          await sleep(100)
          return got.includes(n)
        })
        .toBe(true)
    }
    await after(4)
    await broker.restart()
    await after(5)
    expect(got.filter((n) => (n as number) < 4)).toEqual([1, 2, 3])
  }, 90_000)
})
