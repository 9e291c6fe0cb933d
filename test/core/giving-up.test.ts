import { expect, test } from 'vitest'
import type { Settlement } from '../../src/engines/engine.ts'
import { BusError, connect, connectEngine } from '../../src/index.ts'
import { AttemptBook } from '../../src/ledger/attempts.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryLedger } from '../../src/testing/index.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { between, override } from '../../src/testing/models/wrapping.ts'

const once = { group: 'g', retry: { attempts: 1 } } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('R4: a message is acknowledged only once its dead letter is confirmed, however long the ledger is away', async () => {
  const told: string[] = []
  const inner = memoryLedger()
  let away = true
  const write: Ledger['write'] = async (records) => {
    if (!records.some(({ space }) => space === 'dead-letters')) return inner.write(records)
    told.push(away ? 'refused' : 'kept')
    if (away) throw new BusError('engine_unavailable', 'the ledger is away')
    await inner.write(records)
    await pause(50)
    told.push('confirmed')
  }
  const engine = await queueModel().connect()
  const seen = override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        settle(batch) {
          for (const { kind } of batch) if (kind !== 'extend') told.push(kind)
          return subscription.settle(batch)
        },
      }),
    })),
  )
  const ledger = Object.assign(Object.create(inner), inner, { write }) as Ledger
  await using bus = await connectEngine(seen, { ledger })
  await bus.subscribe('jobs', once, () => {
    throw new Error('broken')
  })
  await bus.publish('jobs', 1)
  await expect.poll(() => told.length, { timeout: 20_000 }).toBeGreaterThan(3)
  expect(new Set(told)).toEqual(new Set(['refused']))
  away = false
  await expect.poll(() => told.slice(told.indexOf('kept')), { timeout: 20_000 }).toEqual(['kept', 'confirmed', 'ack'])
})

test('R10: a message that is given up on again, because its acknowledgement never came through, has one dead letter', async () => {
  const engine = await queueModel().connect()
  let runs = 0
  let lost = 0
  // What a death between the dead letter and the acknowledgement leaves: the broker has heard nothing of it.
  const deaf = override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        async settle(batch) {
          if (lost > 0 || batch.every(({ kind }) => kind !== 'ack')) return subscription.settle(batch)
          lost++
          await subscription.settle(batch.map(({ delivery }): Settlement => ({ kind: 'release', delivery, delayMs: 0 })))
          return batch.map(() => 'lost')
        },
      }),
    })),
  )
  await using bus = await connectEngine(deaf, { ledger: memoryLedger() })
  await bus.subscribe('jobs', once, () => {
    runs++
    throw new Error(`broken ${runs}`)
  })
  await bus.publish('jobs', 1)
  const desk = bus.admin.deadLetters('jobs', 'g')
  await expect.poll(() => runs).toBe(2)
  await expect.poll(() => bus.admin.lag('jobs', 'g')).toBe(0)
  expect((await desk.list()).map(({ error }) => error)).toEqual(['broken 2'])
})

test('R4, R9: what failed before and is handed back past the deadline of a close has died of nothing', async () => {
  const broker = queueModel()
  const ledger = memoryLedger()
  const options = { ledger, defaults: { retry: { initial: 1, jitter: 'none', crashes: 1 }, breaker: false } } as const
  const bus = await connectEngine(await broker.connect(), options)
  const attempts: number[] = []
  const work = await bus.subscribe('jobs', { group: 'g' }, (_, { attempt }) => {
    attempts.push(attempt)
    if (attempt === 1) throw new Error('broken')
    return new Promise(() => {})
  })
  const { id } = await bus.publish('jobs', 1)
  await expect.poll(() => attempts).toEqual([1, 2])
  const book = new AttemptBook(ledger, 'g')
  const known = async () => (await book.read([{ storage: 'jobs', id }]))[0]
  expect(await known()).toMatchObject({ failures: 1, crashes: 0, started: true })
  await work.close({ deadlineMs: 50 })
  expect(await known()).toMatchObject({ failures: 1, crashes: 0, started: false })
  await bus.close()

  await using next = await connectEngine(await broker.connect(), options)
  await next.subscribe('jobs', { group: 'g' }, (_, { attempt }) => void attempts.push(attempt))
  await expect.poll(() => attempts).toEqual([1, 2, 2])
  expect(await next.admin.deadLetters('jobs', 'g').count()).toBe(0)
})

test('deadLetter: false acknowledges what is given up on, and keeps nothing of it', async () => {
  await using bus = await connect('memory:')
  let runs = 0
  const work = await bus.subscribe('jobs', { group: 'g', deadLetter: false, retry: { attempts: 2, initial: 1 } }, () => {
    runs++
    throw new Error('broken')
  })
  await bus.publish('jobs', 1)
  await expect.poll(() => bus.admin.lag('jobs', 'g')).toBe(0)
  expect([runs, work.status().deadLettered, await bus.admin.deadLetters('jobs', 'g').count()]).toEqual([2, 1, 0])
})
