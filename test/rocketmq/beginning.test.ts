import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Bus } from '../../src/bus.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { busAt } from './support.ts'

/** What a member gets, by its body. */
async function join(bus: Bus, topic: string, order: 'key' | 'none'): Promise<{ got: Set<string>; close(): Promise<void> }> {
  const got = new Set<string>()
  const options = { group: 'g', from: 'new', order } as const
  const work = await bus.subscribe(topic, options, ({ body }) => void got.add((body as { name: string }).name))
  return { got, close: () => work.close() }
}

await describeRocketmq('a group that begins with what is new', () => {
  let brokers: RocketmqCluster
  beforeAll(async () => {
    brokers = await startRocketmq()
  }, 90_000)
  afterAll(() => brokers.stop())

  for (const order of ['key', 'none'] as const) {
    const send = (bus: Bus, topic: string, name: string): Promise<unknown> => bus.publish(topic, { name }, { key: name })

    test(`order '${order}': the next member begins where the one before did, though the broker has forgotten the group`, async () => {
      const topic = `begin.${order}`
      const bus = await busAt(brokers.url)
      for (const name of ['old-1', 'old-2', 'old-3']) await send(bus, topic, name)
      const first = await join(bus, topic, order)
      await send(bus, topic, 'seen')
      await expect.poll(() => first.got.has('seen'), { timeout: 20_000 }).toBe(true)
      await first.close()
      await send(bus, topic, 'between')
      await brokers.restartForgetful()
      const next = await join(await busAt(brokers.url), topic, order)
      await send(bus, topic, 'after')
      await expect.poll(() => next.got.has('between') && next.got.has('after'), { timeout: 30_000 }).toBe(true)
      await sleep(500)
      expect([...next.got].filter((name) => name.startsWith('old'))).toEqual([])
    }, 90_000)

    test(`order '${order}': a member that stays goes on with what is new`, async () => {
      const topic = `stay.${order}`
      const bus = await busAt(brokers.url)
      for (const name of ['old-1', 'old-2', 'old-3']) await send(bus, topic, name)
      const member = await join(bus, topic, order)
      await send(bus, topic, 'seen')
      await expect.poll(() => member.got.has('seen'), { timeout: 20_000 }).toBe(true)
      await brokers.restartForgetful()
      await send(bus, topic, 'after')
      await expect.poll(() => member.got.has('after'), { timeout: 30_000 }).toBe(true)
      await sleep(1500)
      expect([...member.got].sort()).toEqual(['after', 'seen'])
    }, 90_000)
  }
})
