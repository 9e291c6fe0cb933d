import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { openNats } from '../../src/engines/nats/engine.ts'
import { message } from '../embedded/support.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

const many = (count: number, from = 0) => Array.from({ length: count }, (_, i) => ({ n: from + i }))

await describeNats('fast ingest', async (version) => {
  const has = !version.startsWith('2.10')
  const server = await startNats({ version })
  afterAll(() => server.stop())
  let topics = 0

  /** A bus behind a proxy, on a topic whose stream is there already. */
  async function ready(on = server) {
    const proxy = await startProxy(on.port)
    const bus = await connect(`nats://127.0.0.1:${proxy.port}`, { nats: { ...eager, fastIngest: true } })
    const nc = await on.connect()
    const jsm = await jetstreamManager(nc, { checkAPI: false })
    const topic = `fast.${++topics}`
    const stream = `fast_${topics}_STREAM`
    onTestFinished(async () => {
      await bus.close()
      await nc.close()
      await proxy.close()
    })
    await bus.publish(topic, { n: -1 })
    return { proxy, bus, jsm, topic, stream }
  }

  /** All that is stored, in order, with its place. */
  async function stored(bus: Bus, topic: string) {
    const messages: { id: string; position: string; n: number }[] = []
    for (let next: string | undefined; ; ) {
      const page = await bus.admin.browse(topic, { limit: 1000, ...(next === undefined ? {} : { from: next }) })
      for (const { id, position, body } of page.messages) messages.push({ id, position, n: (body as { n: number }).n })
      if (page.messages.length < 1000) return messages
      next = page.next
    }
  }

  /** Each body is stored once, in order, and each outcome says where. */
  async function expectAll(bus: Bus, topic: string, outcomes: Awaited<ReturnType<Bus['publishMany']>>) {
    expect(outcomes.filter((one) => !one.ok)).toEqual([])
    const all = (await stored(bus, topic)).filter(({ n }) => n >= 0)
    expect(all.map(({ n }) => n)).toEqual(outcomes.map((_, i) => i))
    expect(outcomes.map((one) => one.ok && [one.id, one.position])).toEqual(all.map(({ id, position }) => [id, position]))
  }

  const settings = async (jsm: JetStreamManager, stream: string, changes: object) => {
    await jsm.streams.update(stream, changes)
  }

  test('a batch has one answer where the stream takes it so, and an outcome a message everywhere', async () => {
    const { proxy, bus, jsm, topic, stream } = await ready()
    expect((await jsm.streams.info(stream)).config.allow_batched).toBe(has ? true : undefined)
    const before = proxy.bytes.down
    const outcomes = await bus.publishMany(topic, many(500))
    const answered = proxy.bytes.down - before
    if (has) expect(answered).toBeLessThan(3000)
    else expect(answered).toBeGreaterThan(20_000)
    await expectAll(bus, topic, outcomes)
    expect(outcomes.every((one) => one.ok && !one.duplicate)).toBe(true)
    // Another batch right behind it counts on from the first.
    const next = await bus.publishMany(topic, many(2500, 500))
    await expectAll(bus, topic, [...outcomes, ...next])
  })

  test('ids of the caller: a duplicate in the middle is stored once and said to be one', async () => {
    const { bus, topic } = await ready()
    const ids = many(100).map(({ n }) => `own-${n === 60 ? 20 : n}`)
    const outcomes = await bus.publishMany(topic, many(100), { ids })
    expect(outcomes.map((one) => one.ok && one.duplicate)).toEqual(ids.map((_, i) => i === 60))
    expect(outcomes[60]).toMatchObject({ position: (outcomes[20] as { position: string }).position })
    const again = await bus.publishMany(topic, many(100), { ids })
    expect(again.every((one) => one.ok && one.duplicate)).toBe(true)
    expect(await stored(bus, topic)).toHaveLength(100)
  })

  test('the connection is cut in the middle of a batch: sent again under the same ids, and stored once', async () => {
    const { proxy, bus, topic } = await ready()
    for (const connection of proxy.connections) connection.cutAfter(50_000, 'up')
    const outcomes = await bus.publishMany(topic, many(1000))
    expect(outcomes.filter((one) => !one.ok)).toEqual([])
    const all = await stored(bus, topic)
    expect(all.length).toBe(1001)
    expect(new Set(all.map(({ id }) => id)).size).toBe(1001)
    const places = new Map(all.map(({ id, position }) => [id, position]))
    for (const one of outcomes) expect(one.ok && one.position).toBe(places.get(one.id))
  })

  test('the answer is lost: what is stored is found, and not stored again', async () => {
    const { proxy, bus, topic } = await ready()
    for (const connection of proxy.connections) connection.cutAfter(1, 'down')
    const outcomes = await bus.publishMany(topic, many(200))
    await expectAll(bus, topic, outcomes)
    // Where each message has its own answer, the first ends the connection before the last messages may have gone out.
    expect(outcomes[0]).toMatchObject({ duplicate: true })
  })

  test('the answer is lost, and the ids are forgotten before the repeat: it is found on the stream, and not stored again', async () => {
    await using proxy = await startProxy(server.port)
    const shared = () => ({ dedupeWindowMs: 100 })
    const engine = await openNats(`nats://127.0.0.1:${proxy.port}`, { ...eager, fastIngest: true, shared })
    onTestFinished(() => engine.close())
    const batch = many(40).map(({ n }) => message('forgotten', String(n), { fresh: true }))
    await engine.publish([message('forgotten', 'before')])
    for (const connection of proxy.connections) connection.cutAfter(1, 'down')
    const lost = await engine.publish(batch)
    expect(new Set(lost.map((one) => one.ok || one.error.code))).toEqual(new Set(['publish_unknown']))
    await new Promise((resolve) => setTimeout(resolve, 250))
    const again = () => engine.publish(batch).catch(() => [])
    await expect.poll(async () => (await again()).map((one) => one.ok && one.position)).toEqual(batch.map((_, i) => String(i + 2)))
    expect((await engine.read('forgotten', 'start', 1000)).messages).toHaveLength(41)
  })

  test('others publish meanwhile: each outcome still says where its message is', async () => {
    const { bus, topic } = await ready()
    const other = await connect(server.url)
    let publishing = true
    const noise = (async () => {
      while (publishing)
        await other.publishMany(
          topic,
          many(7).map(() => ({ n: -2 })),
        )
    })()
    const outcomes = await bus.publishMany(topic, many(1500))
    publishing = false
    await noise
    await other.close()
    await expectAll(bus, topic, outcomes)
  })

  test.each([
    ['first', 0],
    ['in the middle', 40],
    ['last', 99],
  ])('a message that the stream refuses, %s: the others are stored, and it says why', async (_, place) => {
    const { bus, jsm, topic, stream } = await ready()
    await settings(jsm, stream, { max_msg_size: 2000 })
    const begun = performance.now()
    const outcomes = await bus.publishMany(
      topic,
      many(100).map(({ n }) => (n === place ? { n, text: 'x'.repeat(3000) } : { n })),
    )
    expect(performance.now() - begun).toBeLessThan(3000)
    expect(outcomes.map((one) => (one.ok ? 'ok' : one.error.code))).toEqual(
      outcomes.map((_, i) => (i === place ? 'message_too_large' : 'ok')),
    )
    expect(outcomes.some((one) => one.ok && one.duplicate)).toBe(false)
    const all = await stored(bus, topic)
    expect(all).toHaveLength(100)
    const places = new Map(all.map(({ n, position }) => [n, position]))
    for (const [i, one] of outcomes.entries()) if (i !== place) expect(one.ok && one.position).toBe(places.get(i))
  })

  test.skipIf(!has)('a stream that takes it no more has the same outcomes (the server has no fast ingest)', async () => {
    const { bus, jsm, topic, stream } = await ready()
    await settings(jsm, stream, { allow_batched: false })
    const outcomes = await bus.publishMany(topic, many(300))
    await expectAll(bus, topic, outcomes)
    expect(outcomes.every((one) => one.ok && !one.duplicate)).toBe(true)
  })

  test.skipIf(!has)('a server that is set back to a version without it has the same outcomes (the server has no fast ingest)', async () => {
    const own = await startNats({ version })
    onTestFinished(() => own.stop())
    const { bus, topic } = await ready(own)
    await own.restart({ version: '2.10.29' })
    await expect.poll(async () => (await bus.health()).ok, { timeout: 10_000 }).toBe(true)
    const outcomes = await bus.publishMany(topic, many(300))
    await expectAll(bus, topic, outcomes)
    expect(outcomes.every((one) => one.ok && !one.duplicate)).toBe(true)
  })

  test.skipIf(!has)("it is off unless asked for, and provision: 'apply' changes it both ways (the server has no fast ingest)", async () => {
    const nc = await server.connect()
    onTestFinished(() => nc.close())
    const jsm = await jetstreamManager(nc)
    for (const [fastIngest, expected] of [
      [undefined, undefined],
      [true, true],
      [undefined, true],
      [false, undefined],
    ] as const) {
      const bus = await connect(server.url, { nats: { provision: 'apply', ...(fastIngest === undefined ? {} : { fastIngest }) } })
      await bus.publish('applied', { n: 0 })
      await bus.close()
      expect((await jsm.streams.info('applied_STREAM')).config.allow_batched).toBe(expected)
    }
  })
})
