import { expect, test, vi } from 'vitest'
import { BusError, connect, connectEngine, Retry, topic } from '../../src/index.ts'
import { AttemptBook, newAttempts } from '../../src/ledger/attempts.ts'
import { memoryLedger, spy } from '../../src/testing/index.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { between, override } from '../../src/testing/models/wrapping.ts'

const quick = { initial: 1, jitter: 'none' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('R5: a run that timed out sees its signal aborted whenever it looks', async () => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: () => 'k' })
  const ended: number[] = []
  await bus.subscribe(jobs, { group: 'g', timeout: 50, retry: quick }, async (_message, delivery) => {
    if (delivery.attempt === 1) while (!delivery.signal.aborted) await pause(5)
    ended.push(delivery.attempt)
  })
  await bus.publish(jobs, {})
  await vi.waitFor(() => expect(ended.toSorted()).toEqual([1, 2]), 5000)
})

test.each([
  ['a handler', undefined],
  ['a batch handler', { size: 1, wait: 0 }],
])(
  'R6: %s that does not listen to its signal is waited for, so that no two of a key run at once',
  async (_, batch) => {
    await using bus = await connect('memory:')
    const jobs = topic('jobs', { key: () => 'k' })
    let running = 0
    let most = 0
    const runs: number[] = []
    const deaf = async (attempt: number): Promise<void> => {
      most = Math.max(most, ++running)
      runs.push(attempt)
      await pause(700)
      running--
    }
    const options = { group: 'g', timeout: 400, retry: { ...quick, attempts: 2 }, order: 'key' as const }
    if (batch) await bus.subscribe(jobs, { ...options, batch }, (_messages, [delivery]) => deaf(delivery!.attempt))
    else await bus.subscribe(jobs, options, (_message, delivery) => deaf(delivery.attempt))
    await bus.publish(jobs, {})
    await bus.publish(jobs, {})
    await expect.poll(() => bus.admin.deadLetters('jobs', 'g').count(), { timeout: 10_000 }).toBe(2)
    expect({ most, runs }).toEqual({ most: 1, runs: [1, 2, 1, 2] })
    const [letter] = await bus.admin.deadLetters('jobs', 'g').list()
    expect(letter).toMatchObject({ error: expect.stringContaining('longer than 400 ms') })
  },
  20_000,
)

test('R4: a retry gets the message as it was published, whatever the run before did to it', async () => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: () => 'k' })
  const bodies: unknown[] = []
  await bus.subscribe(jobs, { group: 'g', retry: quick }, (message) => {
    bodies.push(structuredClone(message.body))
    message.body.steps.push('taken')
    if (bodies.length === 1) throw new Error('again')
  })
  await bus.publish(jobs, { steps: [] })
  await vi.waitFor(() => expect(bodies).toEqual([{ steps: [] }, { steps: [] }]), 5000)
})

test.each([
  ['a handler', undefined],
  ['a batch handler', { size: 1, wait: 0 }],
])('R8: %s that hangs after its lease was lost gives its place back at the timeout', async (_, batch) => {
  const engine = await logModel().connect()
  let lose = (): void => {}
  const losing = override(
    engine,
    between(engine, (_, sink) => ({
      sink: {
        deliver(deliveries) {
          lose = () => sink.lost(deliveries, 'another member has it')
          sink.deliver(deliveries)
        },
      },
    })),
  )
  await using bus = await connectEngine(losing, { ledger: memoryLedger(), drain: 100 })
  const handled: number[] = []
  const hang = (body: number): unknown => {
    handled.push(body)
    return handled.length === 1 ? new Promise(() => {}) : undefined
  }
  const options = { group: 'g', concurrency: 1, timeout: 400 }
  if (batch) await bus.subscribe('jobs', { ...options, batch }, ([message]) => hang(message?.body))
  else await bus.subscribe('jobs', options, (message) => hang(message.body))
  await bus.publish('jobs', 1)
  await vi.waitFor(() => expect(handled).toEqual([1]))
  lose()
  await vi.waitFor(() => expect(bus.status().subscriptions[0]).toMatchObject({ lost: 1, running: 1 }), 5000)
  await vi.waitFor(() => expect(bus.status().subscriptions[0]?.running).toBe(0), 5000)
})

test.each([
  ['Retry', () => new Retry({ after: '30d' })],
  ['the backoff', () => new Error('later')],
])('a delay of %s that is longer than a timer of Node can be is waited for, not run at once', async (_, failure) => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: (name: string) => name })
  const runs: string[] = []
  await bus.subscribe(jobs, { group: 'g', retry: { initial: '30d', max: '30d', jitter: 'none' } }, (message) => {
    runs.push(message.body)
    if (message.body === 'late') throw failure()
  })
  for (const name of ['late', 'a', 'b', 'c']) {
    await bus.publish(jobs, name)
    await vi.waitFor(() => expect(runs).toContain(name), 5000)
    await pause(20)
  }
  expect(runs).toEqual(['late', 'a', 'b', 'c'])
})

test('R7: while the engine does not answer, one extension a message is on its way', async () => {
  const engine = await queueModel().connect()
  const batches = new Set<unknown>()
  let tries = 0
  const deaf = override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        async settle(batch) {
          batches.add(batch)
          tries++
          await subscription.settle(batch.map((one) => (one.kind === 'extend' ? { ...one, leaseMs: 15_000 } : one)))
          throw new BusError('engine_unavailable', 'the answer never came')
        },
      }),
    })),
  )
  await using bus = await connectEngine(deaf, { ledger: memoryLedger(), drain: 0 })
  await bus.subscribe('jobs', { group: 'g', lease: 300 }, () => new Promise(() => {}))
  await bus.publish('jobs', 1)
  await vi.waitFor(() => expect(tries).toBeGreaterThan(4), 10_000)
  expect(batches.size).toBe(1)
})

test('R4: a backoff that a clock an hour ahead wrote down is no hour longer', async () => {
  const engine = await queueModel().connect()
  const again = override(
    engine,
    between(engine, (_, sink) => ({
      sink: { deliver: (batch) => sink.deliver(batch.map((delivery) => ({ ...delivery, redelivered: true }))) },
    })),
  )
  const ledger = memoryLedger()
  await using bus = await connectEngine(again, { ledger })
  const ahead = Date.now() + 3_600_000
  await new AttemptBook(ledger, 'g').write('jobs', 'm1', { ...newAttempts(), failures: 1, lastFailureAt: ahead, notBefore: ahead + 20 })
  const index = spy()
  await bus.subscribe('jobs', { group: 'g' }, index)
  await bus.publish('jobs', 1, { id: 'm1' })
  await index.waitFor(1)
  expect(index.runs[0]?.attempt).toBe(2)
})

test('R9: a handler does not begin once its message was given back while its schema took its time', async () => {
  const gate = Promise.withResolvers<void>()
  const slow = {
    '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => gate.promise.then(() => ({ value })) },
  }
  const bus = await connect('memory:', { drain: 50 })
  let runs = 0
  const work = await bus.subscribe(topic('slow', { schema: slow }), { group: 'g' }, () => void runs++)
  // As a producer would that knows nothing of the schema.
  await bus.publish('slow', 1)
  await vi.waitFor(() => expect(work.status().running).toBe(1), 5000)
  await bus.close()
  gate.resolve()
  await pause(50)
  expect(runs).toBe(0)
})
