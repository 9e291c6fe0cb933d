import { expect, test } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import type { Engine, Outgoing } from '../../src/engines/engine.ts'
import { BusError, connect } from '../../src/index.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { Overdue } from '../../src/publish/overdue.ts'
import { keyOf, pack } from '../../src/publish/schedule-record.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { override } from '../../src/testing/models/wrapping.ts'

const plain: Outgoing = {
  storage: 't',
  name: 't',
  id: '',
  key: undefined,
  headers: undefined,
  body: Buffer.from('1'),
  at: Date.now(),
  deliverAt: undefined,
}

test('R1: a scheduled message that the engine refuses holds up no other, and stays', async () => {
  const model = await logModel().connect()
  let tries = 0
  const engine: Engine = override(model, {
    publish: async (batch: readonly Outgoing[]) => {
      const outcomes = await model.publish(batch.filter(({ id }) => id !== 'bad'))
      return batch.map(({ id }) => {
        if (id !== 'bad') return outcomes.shift()!
        tries++
        return { ok: false as const, error: new BusError('publish_rejected', 'not now') }
      })
    },
  })
  const ledger = memoryLedger()
  const bus = await connectEngine(engine, { ledger })
  const got: string[] = []
  await bus.subscribe('t', { group: 'g' }, (message) => void got.push(message.id))
  await bus.publish('t', 0, { id: 'bad', delay: 20 })
  for (let i = 0; i < 150; i++) void bus.publish('t', i, { id: `m${i}`, delay: 50 })
  await expect.poll(() => got.length).toBe(150)
  expect(tries).toBeLessThan(4)
  expect(await ledger.count('schedules', '')).toBe(1)
  await bus.close()
})

test('R6: due messages of one key go out one at a time in the order of their times, refused ones and unanswered ones too', async () => {
  const model = await logModel().connect()
  const answers = ['publish_rejected', 'publish_unknown'] as const
  let tries = 0
  let under = 0
  let most = 0
  const engine: Engine = override(model, {
    capabilities: { ...model.capabilities, orderedPipelining: false, dedupeWindowMs: 0 },
    publish: async (batch: readonly Outgoing[]) => {
      const keyed = batch.filter(({ key }) => key === 'k').length
      most = Math.max(most, (under += keyed))
      // What is sent together is stored backwards, as an engine may that does not keep the order of unconfirmed messages.
      await new Promise((resolve) => setTimeout(resolve, 5))
      under -= keyed
      const bad = keyed > 0 ? answers[tries++] : undefined
      if (!bad) return (await model.publish(batch.toReversed())).toReversed()
      return batch.map(() => ({ ok: false as const, error: new BusError(bad, 'not now') }))
    },
  })
  const bus = await connectEngine(engine, { ledger: memoryLedger() })
  const got: string[] = []
  await bus.subscribe('t', { group: 'g', order: 'key', orderScope: 'process' }, (message) => void got.push(message.id))
  const dueAt = Date.now() + 300
  const ids = Array.from({ length: 30 }, (_, i) => `m${String(i).padStart(2, '0')}`)
  // Taken in backwards; three at a time are due in the same millisecond, most while the first one is refused.
  for (const i of ids.keys()) await bus.publish('t', 0, { id: ids[29 - i]!, key: 'k', deliverAt: dueAt + 100 * Math.floor((29 - i) / 3) })
  void bus.publish('t', 0, { id: 'other', key: 'other', deliverAt: dueAt + 100 })
  await expect.poll(() => got.length, { timeout: 20_000 }).toBe(31)
  // Of the same millisecond, in the order in which they were published.
  const inOrder = Array.from({ length: 10 }, (_, i) => [ids[3 * i + 2], ids[3 * i + 1], ids[3 * i]]).flat()
  expect(got.filter((id) => id !== 'other')).toEqual(inOrder)
  expect(got[0]).toBe('other')
  expect(most).toBe(1)
  await bus.close()
})

test('a search for what others left looks at the minutes that have passed, not at all that waits', async () => {
  const base = memoryLedger()
  const now = Date.UTC(2026, 0, 1, 12, 0, 30)
  const record = (deliverAt: number, id: string) => ({
    space: 'schedules' as const,
    key: keyOf({ ...plain, id, deliverAt }),
    value: new Uint8Array(1),
  })
  await base.write(Array.from({ length: 100_000 }, (_, i) => record(now + i * 36, `m${i}`)))
  let names = 0
  const ledger: Ledger = override(base, {
    keys: async (...asked: Parameters<Ledger['keys']>) => {
      const found = await base.keys(...asked)
      names += found.length
      return found
    },
  })
  const overdue = new Overdue(ledger)
  expect(await overdue.search(now - 1)).toEqual([])
  expect(names).toBe(100_000)
  const found = new Set<string>()
  for (let at = now; at < now + 300_000; at += 5000) {
    names = 0
    for (const key of await overdue.search(at)) found.add(key)
    expect(names).toBeLessThan(2 * 1667 + 2)
  }
  expect(found.size).toBe(Math.floor(295_000 / 36) + 1)
  // Written late, into a minute that has passed; and one that is found by the search of everything only.
  await base.write([record(now + 280_000, 'late'), record(now - 3_600_000, 'by a wrong clock')])
  const more = await overdue.search(now + 300_000)
  expect(more.filter((key) => key.endsWith('/late'))).toHaveLength(1)
  expect(more.filter((key) => key.endsWith('/by a wrong clock'))).toHaveLength(0)
  expect((await overdue.search(now + 700_000)).filter((key) => key.endsWith('/by a wrong clock'))).toHaveLength(1)
})

test('R1: what a version before has left in the ledger is sent, overdue or not', async () => {
  const ledger = memoryLedger()
  const now = Date.now()
  for (const [id, dueAt] of [
    ['overdue', now - 60_000],
    ['soon', now + 3000],
  ] as const)
    await ledger.write([{ space: 'schedules', key: `${String(dueAt).padStart(16, '0')}/${id}`, value: pack({ ...plain, id }) }])
  const bus = await connectEngine(await logModel().connect(), { ledger })
  const got = new Map<string, number>()
  await bus.subscribe('t', { group: 'g' }, (message) => void got.set(message.id, Date.now()))
  await expect.poll(() => got.size, { timeout: 15_000 }).toBe(2)
  expect(got.get('soon')).toBeGreaterThanOrEqual(now + 3000)
  await expect.poll(() => ledger.count('schedules', '')).toBe(0)
  await bus.close()
})

test('R9: close waits for scheduled messages to be taken in', async () => {
  const ledger = memoryLedger()
  const bus = await connectEngine(await logModel().connect(), { ledger })
  const sent = bus.publish('t', 1, { delay: '1h' })
  await bus.close()
  await sent
  expect(await ledger.count('schedules', '')).toBe(1)
})

test('R7: publishMany takes bodies as the window has room, and a source that fails hides no outcome', async () => {
  await using bus = await connect('memory:', { publish: { window: 10 } })
  let taken = 0
  let most = 0
  function* bodies(): Generator<number> {
    for (let i = 0; i < 500; i++) {
      taken++
      most = Math.max(most, bus.status().unconfirmed)
      yield i
    }
    throw new Error('the file ended')
  }
  const outcomes = await bus.publishMany('t', bodies())
  expect([taken, outcomes.length, outcomes.filter(({ ok }) => ok).length]).toEqual([500, 501, 500])
  expect(outcomes.at(-1)).toMatchObject({ ok: false, error: { code: 'invalid_message' } })
  expect(most).toBeLessThanOrEqual(20)
})
