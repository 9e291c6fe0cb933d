import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import { BusError } from '../../src/errors.ts'
import { HandBook } from '../../src/ledger/hand-book.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
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

/** What is written is there a while after it was asked for. */
function slowWrites(): Ledger {
  const ledger = memoryLedger()
  const write: Ledger['write'] = (records) => sleep(50).then(() => ledger.write(records))
  return Object.assign(Object.create(ledger), ledger, { write }) as Ledger
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
  const { promise: gate, resolve: go } = Promise.withResolvers<void>()
  await bus.subscribe('t', { group: 'g' }, () => gate)
  const inHand = async () => [...(await new HandBook(ledger, 'g').others()).keys()]
  await expect.poll(inHand).toEqual([`t/${id}`])
  go()
  await expect.poll(inHand).toEqual([])
  away = false
  await expect.poll(async () => (await bus.admin.group('t', 'g')).lag).toBe(0)
})

test('R4: what a process died with counts as one death, for what it had begun and what it was about to, and a member that leaves has not died', async () => {
  const broker = logModel({ partitions: 1 })
  const ledger = memoryLedger()
  const options = { ledger }
  const engine = await broker.connect()
  const dying = await connectEngine(engine, options)
  for (let i = 0; i < 3; i++) await dying.publish('t', i)
  await dying.subscribe('t', { group: 'g', concurrency: 2 }, () => new Promise(() => {}))
  const book = new HandBook(ledger, 'g')
  await expect.poll(async () => (await book.others()).size).toBeGreaterThanOrEqual(2)
  const left = (await book.others()).size
  broker.crash(engine)

  // It leaves before it comes to an end: the deaths are not counted again.
  const leaving = await connectEngine(await broker.connect(), { ledger, drain: 1 })
  let begun = 0
  await leaving.subscribe('t', { group: 'g', concurrency: 1 }, (_message, { signal }) => {
    begun++
    return new Promise((_resolve, reject) => signal.addEventListener('abort', reject))
  })
  await expect.poll(() => begun).toBe(1)
  await leaving.close()
  expect((await book.others()).size).toBe(left)

  await using last = await connectEngine(await broker.connect(), options)
  await last.subscribe('t', { group: 'g', retry: { attempts: 1 } }, () => {
    throw new Error('broken')
  })
  const letters = () => last.admin.deadLetters('t', 'g').list()
  await expect.poll(async () => (await letters()).length).toBe(3)
  expect((await letters()).map(({ crashes }) => crashes).reduce((sum, crashes) => sum + crashes)).toBe(left)
})

test('R4: a member that gives back what it was at, or has done all of it, has not died, though the ledger takes its time', async () => {
  // What is given back there is with another at once.
  const broker = queueModel()
  const untold = async () => {
    const engine = await broker.connect()
    return override(engine, { capabilities: { ...engine.capabilities, redelivered: false } })
  }
  const ledger = slowWrites()
  const inHand = async () => [...(await new HandBook(ledger, 'g').others()).keys()]
  const leaving = await connectEngine(await untold(), { ledger, drain: 1 })
  let begun = 0
  await leaving.subscribe('t', { group: 'g', concurrency: 2 }, () => new Promise(() => begun++))
  for (let i = 0; i < 3; i++) await leaving.publish('t', i)
  await expect.poll(() => begun).toBe(2)

  const other = await connectEngine(await untold(), { ledger })
  let failed = 0
  await other.subscribe('t', { group: 'g', retry: { attempts: 1 } }, ({ body }) => {
    failed++
    if (body !== 'good') throw new Error('broken')
  })
  await leaving.close()
  await expect.poll(async () => (await other.admin.deadLetters('t', 'g').list()).map(({ crashes }) => crashes)).toEqual([0, 0, 0])
  await other.publish('t', 'good')
  await expect.poll(() => failed).toBe(4)
  await other.close()
  expect(await inHand()).toEqual([])
})

test('R4: where one death is enough, it is that of what had begun; what stood ready behind it is handled', async () => {
  const broker = logModel({ partitions: 1 })
  const ledger = memoryLedger()
  const engine = await broker.connect()
  const dying = await connectEngine(engine, { ledger })
  await dying.publishMany(
    't',
    Array.from({ length: 60 }, (_, i) => i),
  )
  let begun = 0
  // The first go so fast that more are asked for than can run.
  await dying.subscribe('t', { group: 'g', concurrency: 2, retry: { crashes: 1 } }, ({ body }) =>
    body < 20 ? undefined : new Promise(() => begun++),
  )
  await expect.poll(() => begun).toBe(2)
  broker.crash(engine)

  await using last = await connectEngine(await broker.connect(), { ledger })
  const handled = new Set<unknown>()
  await last.subscribe('t', { group: 'g', retry: { crashes: 1 } }, ({ body }) => void handled.add(body))
  await expect.poll(() => Array.from({ length: 38 }, (_, i) => i + 22).every((body) => handled.has(body))).toBe(true)
  await expect.poll(() => last.admin.deadLetters('t', 'g').count()).toBe(2)
})

test('R4: what failed and is given back, or is tried again at once, has died with nobody', async () => {
  const broker = queueModel()
  const ledger = slowWrites()
  const connect = async () => {
    const engine = await broker.connect()
    return connectEngine(override(engine, { capabilities: { ...engine.capabilities, redelivered: false } }), { ledger, drain: 1 })
  }
  const attempts: number[] = []
  const fail = (_message: unknown, { attempt }: { attempt: number }): void => {
    attempts.push(attempt)
    throw new Error('broken')
  }
  const policy = { group: 'g', retry: { attempts: 6, initial: 0, crashes: 1 }, breaker: false as const }
  const [first, second] = [await connect(), await connect()]
  await first.subscribe('t', policy, fail)
  await first.publish('t', 1)
  await expect.poll(() => attempts.length).toBeGreaterThan(0)
  await second.subscribe('t', policy, fail)
  await first.close()
  await expect.poll(() => second.admin.deadLetters('t', 'g').list()).toMatchObject([{ attempts: 6, crashes: 0 }])
  expect(attempts).toEqual([1, 2, 3, 4, 5, 6])
  await second.close()
})

test('R9: a member that has nothing in hand leaves at once, though the ledger has been away since', async () => {
  const ledger = memoryLedger()
  let away = false
  const write: Ledger['write'] = async (records) => {
    if (away) throw new BusError('engine_unavailable', 'it is away')
    return ledger.write(records)
  }
  const bus = await connectEngine(await logModel().connect(), { ledger: Object.assign(Object.create(ledger), ledger, { write }) as Ledger })
  let handled = 0
  const work = await bus.subscribe('t', { group: 'g' }, () => {
    away = true
    handled++
  })
  await bus.publish('t', 1)
  await expect.poll(() => handled).toBe(1)
  await sleep(300) // its note would have been tidied by now
  const begun = performance.now()
  await work.close()
  expect(performance.now() - begun).toBeLessThan(10_000) // of the 30 s that handlers would have
  away = false
  await bus.close()
})

test('the notes of the dead go: after a week, and after an hour in which the group was at work', async () => {
  const ledger = memoryLedger()
  const note = (key: string, at: number, messages: string[]) =>
    ledger.write([{ space: 'hands', key: `g/${key}`, value: Buffer.from(JSON.stringify({ at, messages })) }])
  const hour = 3600_000
  await note('old', Date.now() - 8 * 24 * hour, ['t/1'])
  await note('young', Date.now() - 24 * hour, ['t/2'])
  await ledger.write([{ space: 'hands', key: 'g/broken', value: Buffer.from('{') }])
  const book = new HandBook(ledger, 'g')
  expect([...(await book.others())]).toEqual([['t/2', ['g/young']]])
  await expect.poll(() => ledger.keys('hands', 'g/', { limit: 9 })).toEqual(['g/young'])
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 2 * hour })
  onTestFinished(() => void vi.useRealTimers())
  // Who lives has written it since.
  await new HandBook(ledger, 'g').write(['t/3'])
  expect([...(await book.others()).keys()]).toEqual(['t/3'])
})
