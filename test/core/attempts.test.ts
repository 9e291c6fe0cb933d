import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import { BusError } from '../../src/errors.ts'
import { AttemptBook } from '../../src/ledger/attempts.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { between, override } from '../../src/testing/models/wrapping.ts'

// An engine that cannot tell a redelivery: which messages have failed before is asked of the ledger.

/** What it lists was so when it was asked, and is told a while later. */
function slowLists(): Ledger {
  const ledger = memoryLedger()
  const keys: Ledger['keys'] = async (...asked) => {
    const found = await ledger.keys(...asked)
    await sleep(100)
    return found
  }
  return Object.assign(Object.create(ledger), ledger, { keys }) as Ledger
}

const retry = { attempts: 9, initial: 20, jitter: 'none' as const }

test('R4: a failure while the group looks at what failed before is not forgotten', async () => {
  const broker = logModel()
  await using bus = await connectEngine(await broker.connect(), { ledger: slowLists(), defaults: { retry, breaker: false } })
  const attempts: number[] = []
  await bus.publish('t', 1)
  await bus.subscribe('t', { group: 'g' }, (_message, { attempt }) => {
    if (attempts.push(attempt) < 4) throw new Error('broken')
  })
  await expect.poll(() => attempts).toEqual([1, 2, 3, 4])
})

test('R4: what comes from another member counts what failed there, though the ledger takes its time', async () => {
  const broker = logModel({ partitions: 1 })
  const ledger = slowLists()
  const options = { ledger, defaults: { retry: { ...retry, initial: 300 }, breaker: false as const } }
  const attempts: number[] = []
  const fail = (_message: unknown, { attempt }: { attempt: number }): void => {
    if (attempts.push(attempt) < 3) throw new Error('broken')
  }
  const first = await connectEngine(await broker.connect(), options)
  await first.subscribe('t', { group: 'g' }, fail)
  await using second = await connectEngine(await broker.connect(), options)
  await second.subscribe('t', { group: 'g' }, fail)
  await first.publish('t', 1)
  await expect.poll(() => attempts.length).toBe(1)
  await first.close()
  await expect.poll(() => attempts).toEqual([1, 2, 3])
})

test('R4: what was handled, and cannot be acknowledged as the engine is away, has not killed the process that dies then', async () => {
  const broker = logModel({ partitions: 1 })
  const ledger = memoryLedger()
  const engine = await broker.connect()
  let away = true
  const reaches = override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        async settle(batch) {
          if (away) throw new BusError('engine_unavailable', 'it is away')
          return subscription.settle(batch)
        },
      }),
    })),
  )
  await using bus = await connectEngine(reaches, { ledger })
  const { id } = await bus.publish('t', 1)
  let runs = 0
  await bus.subscribe('t', { group: 'g' }, () => void runs++)
  const known = async () => (await new AttemptBook(ledger, 'g').read([{ storage: 't', id }]))[0]
  await expect.poll(() => runs).toBe(1)
  await expect.poll(async () => (await known())?.started).toBe(false)
  away = false
  await expect.poll(known).toBe(undefined)
})
