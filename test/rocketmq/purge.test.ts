import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { openRocketmq } from '../../src/engines/rocketmq/engine.ts'
import { request } from '../../src/engines/rocketmq/protocol.ts'
import { outgoing, Seat } from '../../src/testing/seat.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { askRemoting } from '../rig/remoting.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { eager } from './support.ts'

await describeRocketmq('a purge', () => {
  let brokers: RocketmqCluster
  beforeAll(async () => {
    brokers = await startRocketmq()
  }, 90_000)
  afterAll(() => brokers.stop())

  /** Where the broker has the group. */
  async function placeOf(group: string, topic: string): Promise<number> {
    const fields = { consumerGroup: `${group}|${topic}`, topic, queueId: '0', setZeroIfNotFound: 'false' }
    return Number((await askRemoting(brokers.brokers[0]!.port, request.committed, fields)).fields['offset'])
  }

  test('hides from who owns a queue what it has not begun, and lets it end what it has', async () => {
    const engine = await openRocketmq(brokers.url, { ...eager, queues: 1 })
    onTestFinished(() => engine.close())
    const seat = await Seat.take(engine, 'purged', { order: 'key' })
    onTestFinished(() => seat.close())
    seat.grant(1)
    for (let i = 0; i < 20; i++) await engine.publish([outgoing('purged', `${i}`, { key: 'k' })])
    await expect.poll(() => seat.texts).toEqual(['0'])
    expect(await engine.admin.purge('purged')).toBe(20)
    // Its owner writes down where the group is, by what it has settled.
    expect(await seat.ack(...seat.deliveries)).toEqual(['confirmed'])
    await expect.poll(() => placeOf('g', 'purged'), { timeout: 20_000 }).toBe(20)
    seat.grant(100)
    await engine.publish([outgoing('purged', 'after', { key: 'k' })])
    await expect.poll(() => seat.texts.at(-1)).toBe('after')
    expect(seat.texts).toEqual(['0', 'after'])
  }, 60_000)
})
