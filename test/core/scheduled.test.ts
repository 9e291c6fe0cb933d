import { expect, test } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import type { Engine, Outgoing } from '../../src/engines/engine.ts'
import { BusError, connect } from '../../src/index.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { override } from '../../src/testing/models/wrapping.ts'

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
