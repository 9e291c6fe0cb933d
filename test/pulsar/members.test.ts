import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { javaHash } from '../../src/engines/pulsar/publishing.ts'
import { goService } from '../coze/go-service.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { busAt, fresh } from './support.ts'

const go = await goService('go-pulsar')

await describePulsar('members of a group', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())
  const path = (topic: string): string => `/admin/v2/persistent/public/default/${topic}`
  const connected = (pulsar: Parameters<typeof busAt>[1] = {}) => busAt(broker.url, { admin: broker.admin, ...pulsar })

  test('a topic that moves to another owner, or is unloaded: what runs goes on and is not repeated', async () => {
    const topic = fresh('moved')
    for (const order of ['none', 'key'] as const) {
      const bus = await connected()
      const begun: unknown[] = []
      const done: unknown[] = []
      const work = await bus.subscribe(topic, { group: order, order, concurrency: 4 }, async ({ body }, { signal }) => {
        begun.push(body)
        await sleep(2500, undefined, { signal })
        done.push(body)
      })
      await Promise.all([1, 2, 3].map((n) => bus.publish(topic, `${order}${n}`, { key: `k${n}` })))
      const mine = (all: readonly unknown[]) => all.filter((body) => String(body).startsWith(order)).sort()
      const wanted = [1, 2, 3].map((n) => `${order}${n}`)
      await expect.poll(() => mine(begun)).toEqual(wanted)
      for (let times = 0; times < 2; times++) {
        await broker.ask(`${path(topic)}/unload`, { method: 'PUT' })
        await sleep(400)
      }
      const after = bus.publish(topic, `${order}9`, { key: 'k9' })
      await expect.poll(() => mine(done), { timeout: 15_000 }).toEqual([...wanted, `${order}9`])
      await after
      await sleep(500)
      expect(mine(begun)).toEqual([...wanted, `${order}9`])
      await work.close()
    }
  }, 60_000)

  test('a key stays in order, one at a time, while members join and leave and the topic is unloaded', async () => {
    const topic = fresh('keys')
    const publisher = await connected()
    const seen = new Map<string, number[]>()
    const running = new Set<string>()
    const overlaps: string[] = []
    const join = async () => {
      const bus = await connected()
      await bus.subscribe(topic, { group: 'g', order: 'key' }, async ({ key, body }) => {
        if (running.has(key!)) overlaps.push(key!)
        running.add(key!)
        await sleep(3)
        seen.set(key!, [...(seen.get(key!) ?? []), body as number])
        running.delete(key!)
      })
      return bus
    }
    const members = [await join(), await join()]
    const keys = Array.from({ length: 12 }, (_, i) => `key${i}`)
    const sending = (async () => {
      for (let n = 0; n < 40; n++) {
        await Promise.all(keys.map((key) => publisher.publish(topic, n, { key })))
        await sleep(20)
      }
    })()
    await sleep(300)
    members.push(await join())
    await sleep(300)
    await members.shift()!.close()
    await broker.ask(`${path(topic)}/unload`, { method: 'PUT' })
    await sending
    const firsts = (all: readonly number[]) => [...new Set(all)]
    await expect.poll(() => keys.every((key) => firsts(seen.get(key) ?? []).length === 40), { timeout: 20_000 }).toBe(true)
    for (const key of keys) expect(firsts(seen.get(key)!)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    expect(overlaps).toEqual([])
  }, 60_000)

  test('a topic of partitions that is there is written and read whole, in order by key', async () => {
    const topic = fresh('parts')
    await broker.ask(`${path(topic)}/partitions`, { method: 'PUT', body: 3 })
    const bus = await connected()
    const seen = new Map<string, number[]>()
    await bus.subscribe(topic, { group: 'g', order: 'key' }, ({ key, body }) => {
      seen.set(key!, [...(seen.get(key!) ?? []), body as number])
    })
    const keys = Array.from({ length: 9 }, (_, i) => `k${i}`)
    for (let n = 0; n < 10; n++) await Promise.all(keys.map((key) => bus.publish(topic, n, { key })))
    await expect.poll(() => [...seen.values()].flat().length).toBe(90)
    for (const key of keys) expect(seen.get(key)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    const used = await Promise.all(
      [0, 1, 2].map(async (i) => ((await broker.ask(`${path(`${topic}-partition-${i}`)}/stats`)) as { msgInCounter: number }).msgInCounter),
    )
    expect(used.reduce((a, b) => a + b)).toBe(90)
    const counts = [0, 1, 2].map((i) => 10 * keys.filter((key) => javaHash(key) % 3 === i).length)
    expect(used).toEqual(counts)
  })

  test.skipIf(go.missing !== undefined)('a key of Go’s and of ours is in one partition', async () => {
    const topic = fresh('routed')
    await broker.ask(`${path(topic)}/partitions`, { method: 'PUT', body: 5 })
    const bus = await connected()
    const where = async (): Promise<number[]> =>
      Promise.all(
        [0, 1, 2, 3, 4].map(
          async (i) => ((await broker.ask(`${path(`${topic}-partition-${i}`)}/stats`)) as { msgInCounter: number }).msgInCounter,
        ),
      )
    // Of some the hash has its highest bit set, where clients differ.
    const keys = ['a', 'document-1', 'ключ', 'key-100', '7']
    for (const key of keys) await bus.publish(topic, 1, { key })
    const ours = await where()
    for (const key of keys) await go.sends(broker.url, topic, { key, body: '1' })
    expect(await where()).toEqual(ours.map((n) => 2 * n))
  })

  test('two ways to share a group at once are refused by name', async () => {
    const topic = fresh('mixed')
    const bus = await connected()
    await bus.subscribe(topic, { group: 'g', order: 'none' }, () => {})
    const other = await connected({ name: 'the other one' })
    await expect(other.subscribe(topic, { group: 'g', order: 'key' }, () => {})).rejects.toMatchObject({ code: 'conflict' })
    // Within a process order is ours: to the broker that is the first way.
    await other.subscribe(topic, { group: 'g', order: 'key', orderScope: 'process' }, () => {})
    const stats = await broker.ask(`${path(topic)}/stats`)
    const { consumers } = (stats as { subscriptions: { g: { consumers: { clientVersion: string }[] } } }).subscriptions.g
    expect(consumers.map(({ clientVersion }) => clientVersion).toSorted()).toEqual(['cozebus', 'the other one'])
  })

  test('without HTTP what needs it is refused and says how to give it', async () => {
    const topic = fresh('bare')
    const bus = await busAt(broker.url, { admin: false })
    await bus.publish(topic, 1)
    for (const asked of [() => bus.admin.groups(topic), () => bus.admin.lag(topic, 'g')])
      await expect(asked()).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('pulsar.admin') })
  })

  test('a topic whose maker died before it had said how long it keeps is completed by the next one; one of others is theirs', async () => {
    const [ours, theirs] = [fresh('half'), fresh('theirs')]
    await broker.ask(path(ours), { method: 'PUT', body: { 'cozebus-name': ours } })
    await broker.ask(path(theirs), { method: 'PUT' })
    const bus = await connected()
    await Promise.all([ours, theirs].map((topic) => bus.publish(topic, 1)))
    const retention = { retentionTimeInMinutes: 7 * 24 * 60, retentionSizeInMB: -1 }
    await expect.poll(() => broker.ask(`${path(ours)}/retention`)).toEqual(retention)
    expect(await broker.ask(`${path(theirs)}/retention`)).not.toEqual(retention)
  })
})
