import { expect, onTestFinished, test } from 'vitest'
import { Consumer } from '../../src/deliver/consumer.ts'
import { makeRunner } from '../../src/deliver/make-runner.ts'
import { resolvePolicy } from '../../src/deliver/options.ts'
import type { Capabilities, Delivery, DeliverySink, Engine, Settlement } from '../../src/engines/engine.ts'
import { AttemptBook } from '../../src/ledger/attempts.ts'
import { Events } from '../../src/observe/events.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'

/** A group of one key over an engine that cannot tell what was delivered before, and a ledger that takes its time. */
async function keyed(count: number, batch?: { size: number }) {
  const ledger = memoryLedger()
  const held = Promise.withResolvers<void>()
  let writing = false
  const slow = Object.assign(Object.create(ledger) as typeof ledger, {
    write: async (...args: Parameters<typeof ledger.write>) => {
      writing = true
      await held.promise
      return ledger.write(...args)
    },
  })
  const settled: string[] = []
  let sink!: DeliverySink
  const engine = {
    capabilities: { redelivered: false, headers: true, filter: 'client' } as Capabilities,
    subscribe: async (_spec: unknown, given: DeliverySink) => {
      sink = given
      return {
        grant() {},
        async stop() {},
        async close() {},
        async add() {},
        settle: async (batch: readonly Settlement[]) => {
          for (const { kind, delivery } of batch) settled.push(`${kind} ${delivery.id}`)
          return batch.map(() => 'confirmed')
        },
      }
    },
  } as unknown as Engine
  const ran: string[] = []
  const consumer = new Consumer({
    engine,
    ledger: slow,
    group: 'g',
    policy: resolvePolicy({ order: batch ? 'none' : 'key' }, {}, true),
    definition: undefined,
    runner: makeRunner(
      (got: any) => void ran.push(...[got].flat().map(({ id }: { id: string }) => id)),
      batch && { ...batch, wait: 0 },
      undefined,
    ),
    events: new Events(),
    member: 'm',
    fetchBlob: async () => new Uint8Array(),
  } as never)
  await consumer.start([{ storage: 't', lanes: 't', from: 'earliest' } as never])
  onTestFinished(() => {
    held.resolve()
    return consumer.close(0)
  })
  const deliveries = Array.from(
    { length: count },
    (_, i) =>
      ({
        storage: 't',
        name: 't',
        id: `m${i}`,
        key: 'k',
        headers: undefined,
        body: Buffer.from('1'),
        at: 1,
        scope: 's',
        redelivered: false,
      }) as unknown as Delivery,
  )
  sink.deliver(deliveries)
  await expect.poll(() => writing).toBe(true)
  return { consumer, sink, settled, ran, ledger, letWrite: held.resolve }
}

test('R6: a scope that leaves: what stands behind a message whose start is being written is given back after it', async () => {
  const { sink, settled, ran, letWrite } = await keyed(3)
  sink.leaving('s')
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(settled).toEqual([])
  letWrite()
  await expect.poll(() => settled).toEqual(['release m0', 'release m1', 'release m2'])
  expect(ran).toEqual([])
})

test('R6: a member that closes gives back in the same order, and waits for it', async () => {
  const { consumer, settled, ran, letWrite } = await keyed(3)
  const closed = consumer.close(1000)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(settled).toEqual([])
  letWrite()
  await closed
  expect(settled).toEqual(['release m0', 'release m1', 'release m2'])
  expect(ran).toEqual([])
})

test('R4: of a batch that is given back while the start of one is written, no start is written of the others', async () => {
  const { consumer, settled, ran, ledger, letWrite } = await keyed(4, { size: 4 })
  const closed = consumer.close(1000)
  letWrite()
  await closed
  expect(ran).toEqual([])
  expect(settled.toSorted()).toEqual(['release m0', 'release m1', 'release m2', 'release m3'])
  const states = await new AttemptBook(ledger, 'g').read(['m0', 'm1', 'm2', 'm3'].map((id) => ({ storage: 't', id })))
  expect(states.map((state) => state?.started ?? false)).toEqual([false, false, false, false])
})
