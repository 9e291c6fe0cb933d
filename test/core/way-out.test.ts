import { setTimeout as sleep } from 'node:timers/promises'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { expect, test } from 'vitest'
import type { OnStored, Outgoing, PublishOutcome } from '../../src/engines/engine.ts'
import { BusError, connect, connectEngine, topic } from '../../src/index.ts'
import { memoryLedger, spy } from '../../src/testing/index.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { override } from '../../src/testing/models/wrapping.ts'

/** Even numbers take the longer the smaller they are, odd ones no time: what was published last is ready first. */
const slow: StandardSchemaV1<number, number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const n = value as number
      const result = n === 4 ? { issues: [{ message: 'four' }] } : { value: n }
      return n % 2 !== 0 ? result : new Promise((resolve) => setTimeout(resolve, 30 - 3 * n, result))
    },
  },
}

test('R6: an asynchronous schema does not let a later message pass an earlier one', async () => {
  await using bus = await connect('memory:')
  const numbers = topic('numbers', { schema: slow, key: () => 'k' })
  const outcomes = await Promise.all(
    [0, 1, 2, 3, 4, 5, 6, 7].map((n) =>
      bus.publish(numbers, n).then(
        () => 'ok',
        (error) => (error as BusError).code,
      ),
    ),
  )
  expect(outcomes).toEqual(['ok', 'ok', 'ok', 'ok', 'invalid_message', 'ok', 'ok', 'ok'])
  expect((await bus.admin.browse(numbers)).messages.map(({ body }) => body)).toEqual([0, 1, 2, 3, 5, 6, 7])
})

test('R8: a schema that never answers ends with its publish’s timeout or signal, and holds up neither the rest nor close', async () => {
  const bus = await connect('memory:')
  const schema: StandardSchemaV1<number, number> = {
    '~standard': { version: 1, vendor: 'test', validate: (n) => (n === 0 ? new Promise(() => {}) : { value: n as number }) },
  }
  const numbers = topic('numbers', { schema })
  await bus.publish(numbers, -1)
  const gone = new AbortController()
  const aborted = { code: 'aborted' }
  const first = expect(bus.publish(numbers, 0, { timeout: 300 })).rejects.toMatchObject({ code: 'publish_rejected' })
  const behind = expect(bus.publish(numbers, 1, { signal: gone.signal })).rejects.toMatchObject(aborted)
  const later = bus.publish(numbers, 2)
  gone.abort()
  await behind
  expect((await bus.admin.browse(numbers)).messages.map(({ body }) => body)).toEqual([-1])
  await Promise.all([first, later])
  const again = new AbortController()
  const last = expect(bus.publish(numbers, 0, { signal: again.signal })).rejects.toMatchObject(aborted)
  expect((await bus.admin.browse(numbers)).messages.map(({ body }) => body)).toEqual([-1, 2])
  const closing = bus.close()
  again.abort()
  await Promise.all([last, closing])
})

test('R6: what is published while a definition is declared keeps its order', async () => {
  await using bus = await connect('memory:')
  const steps = topic('steps.{run}', { retention: { age: '1d' } })
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < 50; n++) {
    sent.push(bus.publish(steps.with({ run: 'a' }), n))
    if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(sent)
  expect((await bus.admin.browse(steps)).messages.map(({ body }) => body)).toEqual(Array.from({ length: 50 }, (_, n) => n))
})

test('R9: a handler may publish while the bus drains; what was handed in is confirmed, and nothing is taken after', async () => {
  const bus = await connect('memory:')
  let started = (): void => {}
  const running = new Promise<void>((resolve) => {
    started = resolve
  })
  let told: string | undefined
  await bus.subscribe('in', { group: 'g' }, async () => {
    started()
    await new Promise((resolve) => setTimeout(resolve, 50))
    told = (await bus.publish('out', 'result')).id
  })
  await bus.publish('in', 1)
  await running
  const late = bus.publish(topic('numbers', { schema: slow }), -20)
  await bus.close()
  expect(told).toBeDefined()
  await expect(late).resolves.toMatchObject({ topic: 'numbers' })
  await expect(bus.publish('in', 2)).rejects.toMatchObject({ code: 'closed' })
})

/** A bus whose engine answers publishes so, one answer a try; the last one stays. */
async function answering(dedupeWindowMs: number, ...answers: (BusError['code'] | 'never')[]) {
  const engine = await logModel({ dedupeWindowMs }).connect()
  const tries = { made: 0 }
  const publish = async (): Promise<PublishOutcome[]> => {
    const answer = answers[Math.min(tries.made++, answers.length - 1)]!
    return answer === 'never' ? new Promise(() => {}) : [{ ok: false, error: new BusError(answer, answer) }]
  }
  return { tries, bus: await connectEngine(override(engine, { publish }), { ledger: memoryLedger() }) }
}

test('R2: a try that was never answered makes the outcome unknown, whatever later tries say', async () => {
  for (const later of ['engine_unavailable', 'publish_rejected'] as const) {
    const { bus } = await answering(600_000, 'publish_unknown', later)
    await expect(bus.publish('a', 1, { timeout: 200 })).rejects.toMatchObject({ code: 'publish_unknown', cause: { code: later } })
    await bus.close()
  }
})

test('R2: what may be stored is not sent again past the time in which the engine stores an id once', async () => {
  const { bus, tries } = await answering(200, 'publish_unknown', 'engine_unavailable')
  await expect(bus.publish('a', 1, { timeout: '20s' })).rejects.toMatchObject({ code: 'publish_unknown' })
  expect(tries.made).toBeGreaterThan(1)
  await bus.close()
})

test('R6: on an engine that pipelines, what failed of a key goes again in its order, also where a later one failed first', async () => {
  const model = await logModel().connect()
  const engine = override(model, { capabilities: { ...model.capabilities, orderedPipelining: true } })
  const stored: unknown[] = []
  const gates = new Map<number, PromiseWithResolvers<void>>()
  let refuses = true
  const publish = async (batch: readonly Outgoing[]): Promise<PublishOutcome[]> => {
    const n = Number(Buffer.from(batch[0]!.body).toString())
    if (refuses) {
      const gate = Promise.withResolvers<void>()
      gates.set(n, gate)
      await gate.promise
      return batch.map(() => ({ ok: false, error: new BusError('engine_unavailable', 'no leader') }))
    }
    for (const { body } of batch) stored.push(Number(Buffer.from(body).toString()))
    return batch.map(() => ({ ok: true, position: '', duplicate: false }))
  }
  await using bus = await connectEngine(override(engine, { publish }), { ledger: memoryLedger() })
  const sent = []
  for (const n of [1, 2, 3]) {
    sent.push(bus.publish('a', n, { key: 'k' }))
    await expect.poll(() => gates.has(n)).toBe(true)
  }
  refuses = false
  gates.get(3)!.resolve()
  gates.get(2)!.resolve()
  await sleep(100)
  // The first is still out, and may fail yet.
  expect(stored).toEqual([])
  sent.push(bus.publish('a', 4, { key: 'k' }), bus.publish('a', 5, { key: 'other' }))
  await expect.poll(() => stored).toEqual([5])
  gates.get(1)!.resolve()
  await Promise.all(sent)
  expect(stored).toEqual([5, 1, 2, 3, 4])
})

test('a topic that has to be made first, or does not answer, holds up no other that is published with it', async () => {
  const model = await logModel().connect()
  let refuses = false
  let gate: Promise<void> | undefined
  const engine = override(model, {
    publish: async (batch: Parameters<typeof model.publish>[0]) => {
      const slow = batch.some(({ storage }) => storage === 'slow')
      if (slow && refuses) throw new BusError('engine_unavailable', 'not now')
      if (slow) await gate
      return model.publish(batch)
    },
  })
  await using bus = await connectEngine(engine, { ledger: memoryLedger() })
  const together = async (): Promise<void> => {
    const opened = Promise.withResolvers<void>()
    gate = opened.promise
    const slow = bus.publish('slow', 1)
    const first = await Promise.race([slow.then(() => 'slow'), bus.publish('quick', 1).then(() => 'quick'), sleep(2000, 'nobody')])
    opened.resolve()
    await slow
    expect(first).toBe('quick')
  }
  await together()
  refuses = true
  const refused = bus.publish('slow', 2)
  await sleep(50)
  refuses = false
  await Promise.all([together(), refused])
})

test('what is known to be stored does not wait for what was sent with it, and makes room for more', async () => {
  const model = await logModel().connect()
  const gate = Promise.withResolvers<void>()
  let cold = false
  const frozen = (message: Outgoing): boolean => cold && message.name === 'frozen'
  const engine = override(model, {
    publish: async (batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored) => {
      const confirmed: PublishOutcome = { ok: true, position: '1', duplicate: false }
      // Twice, as no engine should: the second word counts for nothing.
      for (let times = 0; times < 2; times++) for (const [i, message] of batch.entries()) if (!frozen(message)) stored?.(i, confirmed)
      if (batch.some(frozen)) await gate.promise
      return batch.map(() => confirmed)
    },
  })
  await using bus = await connectEngine(engine, { ledger: memoryLedger(), publish: { window: 4 } })
  const said: unknown[] = []
  const publish = (topic: string, n: number): Promise<unknown> => bus.publish(topic, n, { key: 'k' }).then(() => said.push(n))
  await Promise.all([publish('quick', 0), publish('frozen', 0)])
  cold = true
  const held = publish('frozen', 100)
  await Promise.all([1, 2, 3, 4, 5, 6].map((n) => publish('quick', n)))
  expect(said).toEqual([0, 0, 1, 2, 3, 4, 5, 6])
  gate.resolve()
  await held
  expect(bus.status().unconfirmed).toBe(0)
})

test('an abort ends the wait for an engine that does not answer', async () => {
  const { bus, tries } = await answering(0, 'never')
  const gone = new AbortController()
  const publish = bus.publish('a', 1, { signal: gone.signal })
  while (tries.made === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  gone.abort('enough')
  await expect(publish).rejects.toMatchObject({ code: 'aborted', cause: 'enough' })
})

test('R1: what a process that is gone took in for later than its engine keeps is sent by another that never scheduled anything', async () => {
  const broker = queueModel()
  const ledger = memoryLedger()
  const open = async () => {
    const engine = await broker.connect()
    return connectEngine(override(engine, { capabilities: { ...engine.capabilities, delayMaxMs: 50 } }), { ledger })
  }
  const gone = await open()
  await gone.publish('later', 'sent', { delay: 300 })
  await gone.close()
  await using bus = await open()
  const index = spy()
  await bus.subscribe('later', { group: 'g' }, index)
  await index.waitFor(1, 20_000)
  expect(index.messages[0]?.body).toBe('sent')
})
