import { afterAll, expect, test } from 'vitest'
import type { Bus } from '../../src/bus.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { busAt, fresh } from './support.ts'

await describePulsar('what a topic keeps', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())

  /** Over all pages from there on. */
  async function browsed(bus: Bus, topic: string, from: 'start' | Date | string = 'start', limit = 7) {
    const found = []
    for (let at = from; ; ) {
      const { messages, next } = await bus.admin.browse(topic, { from: at, limit })
      expect(messages.length).toBeLessThanOrEqual(limit)
      if (messages.length === 0) return { found, bodies: found.map(({ body }) => body), next }
      found.push(...messages)
      at = next
    }
  }

  /** All that the group is given of so many, in the order of their handling. */
  async function handled(bus: Bus, topic: string, count: number): Promise<unknown[]> {
    const got: unknown[] = []
    const work = await bus.subscribe(topic, { group: 'g', order: 'key' }, ({ body }) => void got.push(body))
    await expect.poll(() => got.length, { timeout: 20_000 }).toBe(count)
    await expect.poll(() => bus.admin.lag(topic, 'g')).toBe(0)
    await work.close()
    return got
  }

  test('is read again when all groups have settled it, over partitions and an unload of them, and goes on behind the last page', async () => {
    const topic = fresh('parted')
    const bus = await busAt(broker.url, { admin: broker.admin, partitions: 3 })
    const keys = ['a', 'b', 'c', 'd', 'e']
    for (let n = 0; n < 8; n++) for (const key of keys) await bus.publish(topic, `${key}${n}`, { key })
    const all = keys.flatMap((key) => Array.from({ length: 8 }, (_, n) => `${key}${n}`))
    await handled(bus, topic, 40)
    const { bodies } = await browsed(bus, topic)
    expect(bodies.toSorted()).toEqual(all)
    for (const key of keys)
      expect(bodies.filter((body) => String(body).startsWith(key))).toEqual(all.filter((body) => body.startsWith(key)))
    for (let part = 0; part < 3; part++)
      await broker.ask(`/admin/v2/persistent/public/default/${topic}-partition-${part}/unload`, { method: 'PUT' })
    const again = await browsed(bus, topic)
    expect(again.bodies).toEqual(bodies)
    await bus.publish(topic, 'new', { key: 'a' })
    expect((await browsed(bus, topic, again.next)).bodies).toEqual(['new'])
    // Each message tells where the others were.
    for (const [i, { position }] of again.found.entries()) {
      if (i % 9 !== 0) continue
      const rest = (await browsed(bus, topic, position, 100)).bodies
      expect(rest).toEqual([...bodies.slice(i + 1), 'new'])
    }
    const [info] = (await bus.admin.topics()).filter(({ storage }) => storage === topic)
    expect(info).toMatchObject({ messages: 41 })
  }, 90_000)

  test('a group goes back to a time, to a place or to the beginning', async () => {
    const topic = fresh('back')
    const bus = await busAt(broker.url, { admin: broker.admin })
    for (const n of [1, 2, 3]) await bus.publish(topic, n, { key: 'k' })
    await expect.poll(() => Date.now()).toBeGreaterThan((await browsed(bus, topic)).found.at(-1)!.publishedAt.getTime() + 1)
    const between = new Date()
    for (const n of [4, 5]) await bus.publish(topic, n, { key: 'k' })
    expect(await handled(bus, topic, 5)).toEqual([1, 2, 3, 4, 5])
    expect((await browsed(bus, topic, between)).bodies).toEqual([4, 5])
    await bus.admin.reset(topic, 'g', { to: between })
    expect(await handled(bus, topic, 2)).toEqual([4, 5])
    const { found } = await browsed(bus, topic)
    await bus.admin.reset(topic, 'g', { to: found[0]!.position })
    expect(await handled(bus, topic, 4)).toEqual([2, 3, 4, 5])
    await bus.admin.reset(topic, 'g', { to: 'earliest' })
    expect(await handled(bus, topic, 5)).toEqual([1, 2, 3, 4, 5])
    await bus.admin.reset(topic, 'g', { to: new Date(Date.now() + 60_000) })
    await bus.publish(topic, 6, { key: 'k' })
    expect(await handled(bus, topic, 1)).toEqual([6])
    await expect(bus.admin.reset(topic, 'g', { to: 'nonsense' })).rejects.toMatchObject({ code: 'invalid_argument' })
    await expect(bus.admin.browse(topic, { from: 'nonsense' })).rejects.toMatchObject({ code: 'invalid_argument' })
  }, 60_000)

  test('is gone after a purge, which those who publish and subscribe live through', async () => {
    const topic = fresh('purged')
    const bus = await busAt(broker.url, { admin: broker.admin })
    const got: unknown[] = []
    await bus.subscribe(topic, { group: 'g', order: 'key' }, ({ body }) => void got.push(body))
    for (const n of [1, 2, 3]) await bus.publish(topic, n, { key: 'k' })
    await expect.poll(() => got).toEqual([1, 2, 3])
    expect(await bus.admin.purge(topic)).toBe(3)
    expect((await browsed(bus, topic)).bodies).toEqual([])
    await bus.publish(topic, 4, { key: 'k' })
    await expect.poll(() => got).toEqual([1, 2, 3, 4])
    expect((await browsed(bus, topic)).bodies).toEqual([4])
  }, 60_000)

  test('is not told where nobody may be asked over HTTP', async () => {
    const bus = await busAt(broker.url, { admin: false })
    const topic = fresh('untold')
    await bus.publish(topic, 1)
    expect(bus.status().capabilities.history).toBe(false)
    await expect(bus.admin.browse(topic)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('pulsar.admin') })
    await expect(bus.admin.reset(topic, 'g', { to: 'earliest' })).rejects.toMatchObject({ code: 'unsupported' })
  })
})
