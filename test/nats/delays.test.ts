import { jetstreamManager } from '@nats-io/jetstream'
import { afterAll, expect, test } from 'vitest'
import { connect, topic } from '../../src/index.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

const jobs = topic('jobs.{kind}', { key: ({ key }: { key: string; n: number }) => key })

await describeNats('delays', async (version) => {
  const server = await startNats({ version })
  afterAll(() => server.stop())

  test('R6: what one process took in for the same keys and times is sent by another when that is gone, in order', async () => {
    const taker = await connect(server.url)
    const bodies = Array.from({ length: 60 }, (_, n) => ({ key: `k${n % 3}`, n }))
    const outcomes = await taker.publishMany(jobs.with({ kind: 'a' }), bodies, { deliverAt: Date.now() + 300 })
    await taker.close()
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(60)
    await using bus = await connect(server.url)
    const got: number[][] = [[], [], []]
    await bus.subscribe(jobs.where({ kind: 'a' }), { group: 'g' }, ({ body }) => void got[body.n % 3]!.push(body.n))
    await expect.poll(() => got.flat().length, { timeout: 20_000 }).toBe(60)
    for (const [i, numbers] of got.entries()) expect(numbers).toEqual(Array.from({ length: 20 }, (_, n) => 3 * n + i))
  })

  test('R6: a server that is killed while they fall due costs none of them, and no order', async () => {
    await using own = await startNats({ version })
    await using bus = await connect(own.url, { nats: eager })
    const got: number[][] = [[], [], []]
    await bus.subscribe(jobs.where({ kind: 'a' }), { group: 'g' }, ({ body }) => void got[body.n % 3]!.push(body.n))
    const dueAt = Date.now() + 1000
    await Promise.all(
      Array.from({ length: 300 }, (_, n) => bus.publish(jobs.with({ kind: 'a' }), { key: `k${n % 3}`, n }, { deliverAt: dueAt + 5 * n })),
    )
    await expect.poll(() => got.flat().length).toBeGreaterThan(50)
    await own.kill()
    await own.start()
    await expect.poll(() => got.flat().length, { timeout: 20_000 }).toBeGreaterThanOrEqual(300)
    // What was in hand may come again: the order is that of first completions.
    for (const [i, numbers] of got.entries()) expect([...new Set(numbers)]).toEqual(Array.from({ length: 100 }, (_, n) => 3 * n + i))
    expect((await bus.admin.topics()).find(({ storage }) => storage === 'jobs.*')).toMatchObject({ messages: 300 })
  })

  test('R1: a delayed message reaches groups and those who listen live alike, once it is due', async () => {
    await using bus = await connect(server.url)
    const came: [string, number][] = []
    await bus.subscribe('both', () => void came.push(['live', Date.now()]))
    await bus.subscribe('both', { group: 'g' }, () => void came.push(['group', Date.now()]))
    const dueAt = Date.now() + 500
    await bus.publish('both', 1, { deliverAt: dueAt })
    await expect.poll(() => came.map(([who]) => who).sort(), { timeout: 10_000 }).toEqual(['group', 'live'])
    for (const [, at] of came) expect(at).toBeGreaterThanOrEqual(dueAt)
  })

  test('R2: an id that went out late is stored once in the window after that, however long it waited', async () => {
    await using bus = await connect(server.url, { nats: { dedupeWindowMs: 1000 } })
    const arrived = Promise.withResolvers<void>()
    await bus.subscribe('once', { group: 'g' }, () => arrived.resolve())
    await bus.publish('once', 'late', { id: 'the-id', delay: 1500 })
    await arrived.promise
    expect(await bus.publish('once', 'again', { id: 'the-id' })).toMatchObject({ duplicate: true })
  })

  test('R1: a delayed message whose record was never confirmed may be stored, and then comes in time; sent to nobody it is not', async () => {
    await using own = await startNats({ version })
    await using proxy = await startProxy(own.port)
    await using bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: { ...eager, pingIntervalMs: 60_000 } })
    const came: [unknown, number][] = []
    await bus.subscribe('silent', { group: 'g' }, ({ body }) => void came.push([body, Date.now()]))
    await bus.publish('silent', 'before', { delay: 1 })
    await expect.poll(() => came.length).toBe(1)
    proxy.set({ blackhole: true })
    const dueAt = Date.now() + 4000
    const outcomes = await bus.publishMany('silent', ['one', 'two'], { deliverAt: dueAt, timeout: 1000 })
    for (const outcome of outcomes) expect(outcome).toMatchObject({ ok: false, error: { code: 'publish_unknown' } })
    proxy.set({ blackhole: false })
    await expect.poll(() => came.map(([body]) => body), { timeout: 10_000 }).toEqual(['before', 'one', 'two'])
    // Not only when others step in for who took it.
    expect(came.at(-1)![1]).toBeLessThan(dueAt + 3000)
    await own.kill()
    await expect.poll(async () => (await bus.health()).ok).toBe(false)
    await expect(bus.publish('silent', 'never', { delay: '1h', timeout: 500 })).rejects.toMatchObject({ code: 'engine_unavailable' })
  })

  test('R1: what waits is no part of its topic: its limits do not drop it, and it is not counted', async () => {
    await using bus = await connect(server.url)
    const client = await server.connect()
    await (await jetstreamManager(client)).streams.add({ name: 'small_STREAM', subjects: ['small'], max_msgs: 3 })
    await client.close()
    const got: unknown[] = []
    await bus.subscribe('small', { group: 'g' }, ({ body }) => void got.push(body))
    await bus.publish('small', 'late', { delay: 1500 })
    for (let i = 0; i < 10; i++) await bus.publish('small', i)
    const [info] = (await bus.admin.topics()).filter(({ storage }) => storage === 'small')
    expect(info).toMatchObject({ messages: 3 })
    await expect.poll(() => got, { timeout: 10_000 }).toContain('late')
  })
})
