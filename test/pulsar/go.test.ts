// Beside Go services on Pulsar, with the client and version that Coze Studio uses.
import { afterAll, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { goService } from '../coze/go-service.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { busAt, eager, fresh } from './support.ts'

const go = await goService('go-pulsar')

await describePulsar(`beside Go services${go.missing === undefined ? '' : ` (${go.missing})`}`, async () => {
  if (go.missing !== undefined) {
    test.skip(`beside Go services (${go.missing})`)
    return
  }
  const broker = await startPulsar()
  afterAll(() => broker.stop())

  test.each(['', 'lz4', 'zlib', 'zstd'])(
    'Go sends batches (%s), ours reads: keys and bodies as they are, an id of its own each',
    async (compression) => {
      const topic = fresh('from_go')
      const bus = await busAt(broker.url)
      const got: { id: string; key: string | undefined; body: unknown }[] = []
      await bus.subscribe(topic, { group: 'g', order: 'key' }, ({ id, key, body }) => void got.push({ id, key, body }))
      await go.sends(broker.url, topic, {
        key: 'k',
        body: '{"n":%d,"text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}',
        count: 20,
        args: ['-compression', compression],
      })
      await expect.poll(() => got.map(({ body }) => (body as { n: number }).n)).toEqual(Array.from({ length: 20 }, (_, i) => i))
      expect(new Set(got.map(({ id }) => id)).size).toBe(20)
      expect(new Set(got.map(({ key }) => key))).toEqual(new Set(['k']))
    },
  )

  test.each(['none', 'lz4', 'zlib', 'zstd'] as const)(
    'ours sends (%s), Go reads: body, key, headers as properties',
    async (compression) => {
      const topic = fresh('to_go')
      const reader = await go.reads(broker.url, topic, 'cg')
      const bus = await busAt(broker.url, { compression })
      const body = { text: 'b'.repeat(500) }
      await bus.publish(topic, body, { key: 'seven', headers: { tenant: 'x' } })
      await expect.poll(() => reader.lines.length).toBe(1)
      expect(JSON.parse(reader.lines[0]!.body!)).toEqual(body)
      expect(reader.lines[0]).toMatchObject({ key: 'seven', properties: { tenant: 'x' } })
    },
  )

  test('batches of Go are browsed message by message, also from the middle of one, and a group is put there', async () => {
    const topic = fresh('browsed')
    const bus = await busAt(broker.url, { admin: broker.admin })
    await go.sends(broker.url, topic, { key: 'k', body: '{"n":%d}', count: 20 })
    const n = ({ body }: { body: unknown }): number => (body as { n: number }).n
    const seen: number[] = []
    let from = 'start'
    for (let page = await bus.admin.browse(topic, { from, limit: 3 }); page.messages.length > 0; ) {
      seen.push(...page.messages.map(n))
      from = page.next
      page = await bus.admin.browse(topic, { from, limit: 3 })
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i))
    const work = await bus.subscribe(topic, { group: 'g', order: 'none' }, () => {})
    await expect.poll(() => bus.admin.lag(topic, 'g')).toBe(0)
    await work.close()
    const { messages } = await bus.admin.browse(topic, { limit: 20 })
    // In the middle of its batch, where Go made one.
    await bus.admin.reset(topic, 'g', { to: messages[13]!.position })
    const got: number[] = []
    await bus.subscribe(topic, { group: 'g', order: 'none', concurrency: 1 }, (message) => void got.push(n(message)))
    await expect.poll(() => got).toEqual([14, 15, 16, 17, 18, 19])
  })

  test('what Go sends in chunks becomes dead letters that say so, with their bytes, and what comes after it is handled', async () => {
    const topic = fresh('chunks')
    const bus = await busAt(broker.url)
    const got: unknown[] = []
    await bus.subscribe(topic, { group: 'g', order: 'none' }, ({ body }) => void got.push(body))
    const body = JSON.stringify('c'.repeat(2500))
    await go.sends(broker.url, topic, { body, args: ['-chunk', '1024'] })
    await go.sends(broker.url, topic, { body: '"whole"' })
    await expect.poll(() => got).toEqual(['whole'])
    const letters = bus.admin.deadLetters(topic, 'g')
    await expect.poll(async () => (await letters.list()).length).toBe(3)
    const found = await letters.list()
    for (const { error } of found) expect(error).toContain('one of 3 chunks of a message: turn chunking off at its producer')
    expect(Buffer.concat(found.map(({ bytes }) => bytes)).length).toBe(body.length)
  })

  test('one Shared subscription of both: each message is handled once, and both get some', async () => {
    const topic = fresh('both')
    const bus = await busAt(broker.url)
    const ours: string[] = []
    await bus.subscribe(topic, { group: 'cg', order: 'none', concurrency: 2 }, async ({ body }) => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      ours.push(String((body as { n: string }).n))
    })
    const reader = await go.reads(broker.url, topic, 'cg', { workMs: 5, args: ['-shared'] })
    await Promise.all([
      go.sends(broker.url, topic, { body: '{"n":"go-%d"}', count: 60 }),
      bus.publishMany(
        topic,
        Array.from({ length: 60 }, (_, i) => ({ n: `ts-${i}` })),
      ),
    ])
    const all = (): string[] => [...ours, ...reader.lines.map(({ body }) => (JSON.parse(body!) as { n: string }).n)]
    await expect.poll(() => all().length, { timeout: 15_000 }).toBe(120)
    expect(new Set(all()).size).toBe(120)
    expect(ours.length).toBeGreaterThan(0)
    expect(reader.lines.length).toBeGreaterThan(0)
  }, 40_000)

  test('P1: a group that a Go service holds for itself is refused with what to do, and free once it is gone', async () => {
    const topic = fresh('held')
    const reader = await go.reads(broker.url, topic, 'cg')
    const bus = await busAt(broker.url)
    const got: unknown[] = []
    const subscribe = () => bus.subscribe(topic, { group: 'cg' }, ({ body }) => void got.push(body))
    await expect(subscribe()).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('stop them first') })
    await bus.publish(topic, 1)
    await expect.poll(() => reader.lines.length).toBe(1)
    await reader.stop()
    await bus.publish(topic, 2)
    await subscribe()
    await expect.poll(() => got).toEqual([2])
  })

  test('P1: as many producers as there are processes, beside a Go producer too', async () => {
    const topic = fresh('producers')
    const buses = await Promise.all([1, 2, 3].map(() => busAt(broker.url)))
    await Promise.all([go.sends(broker.url, topic, { count: 5 }), ...buses.map((bus) => bus.publish(topic, 1))])
    const got: unknown[] = []
    await buses[0]!.subscribe(topic, { group: 'g' }, ({ body }) => void got.push(body))
    await expect.poll(() => got.length).toBe(8)
  })

  test('P2, P4: of a batch one fails: it alone is tried again, with our waits, and becomes a dead letter', async () => {
    const topic = fresh('poison')
    const bus = await busAt(broker.url)
    const runs = new Map<number, number>()
    const retry = { attempts: 3, initial: 50, max: 50, jitter: 'none' } as const
    await bus.subscribe(topic, { group: 'g', retry }, ({ body }) => {
      const { n } = body as { n: number }
      runs.set(n, (runs.get(n) ?? 0) + 1)
      if (n === 3) throw new Error('never works')
    })
    await go.sends(broker.url, topic, { body: '{"n":%d}', count: 10 })
    await expect.poll(() => bus.admin.deadLetters(topic, 'g').count(), { timeout: 15_000 }).toBe(1)
    expect(Object.fromEntries(runs)).toEqual({ 0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1 })
  }, 30_000)

  test('P3: what was sent before a group came is delivered to it', async () => {
    const topic = fresh('before')
    await go.sends(broker.url, topic, { body: '%d', count: 3 })
    const bus = await busAt(broker.url)
    const got: unknown[] = []
    await bus.subscribe(topic, { group: 'late' }, ({ body }) => void got.push(body))
    await expect.poll(() => got).toEqual([0, 1, 2])
  })

  test('P4: settled messages of a batch do not come again to the next member', async () => {
    const topic = fresh('batch')
    await go.sends(broker.url, topic, { body: '%d', count: 10 })
    const seen: unknown[] = []
    const first = await connect(broker.url, { ledger: memoryLedger(), drain: 100, pulsar: eager })
    const held = Promise.withResolvers<void>()
    await first.subscribe(topic, { group: 'g', concurrency: 10 }, async ({ body }) => {
      if (body === 5) await held.promise
      else seen.push(body)
    })
    await expect.poll(() => seen.length).toBe(9)
    await new Promise((resolve) => setTimeout(resolve, 200))
    await first.close()
    held.resolve()
    const bus = await busAt(broker.url)
    await bus.subscribe(topic, { group: 'g' }, ({ body }) => void seen.push(body))
    await expect.poll(() => seen.length).toBe(10)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(seen.sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  test('P7: a message too large for the broker is refused before it is sent, with the limit in the error', async () => {
    const bus = await busAt(broker.url)
    await expect(bus.publish(fresh('large'), Buffer.alloc(6_000_000))).rejects.toMatchObject({ code: 'message_too_large' })
  })
})
