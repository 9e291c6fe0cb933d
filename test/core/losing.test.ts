import { expect, test } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import type { Settlement, SettleResult } from '../../src/engines/engine.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { between, override } from '../../src/testing/models/wrapping.ts'

test('R6: when a message is lost, what stands behind it is given back, also what is still looked up', async () => {
  const ledger = memoryLedger()
  let gate = Promise.resolve()
  const read: Ledger['read'] = async (...asked) => {
    await gate
    return ledger.read(...asked)
  }
  const engine = await logModel({ partitions: 1 }).connect()
  const isOf = ({ delivery }: Settlement, text: string): boolean => Buffer.from(delivery.body).toString() === text
  const given: string[] = []
  let lose = false
  const losing = override(
    engine,
    between(engine, () => ({
      subscribed: (subscription) => ({
        async settle(batch) {
          for (const one of batch) if (one.kind === 'release') given.push(Buffer.from(one.delivery.body).toString())
          const results = await subscription.settle(batch)
          return batch.map((one, i): SettleResult => (lose && one.kind === 'extend' && isOf(one, '"a"') ? 'lost' : results[i]!))
        },
      }),
    })),
  )
  await using bus = await connectEngine(losing, { ledger: Object.assign(Object.create(ledger), ledger, { read }) as Ledger, drain: 1 })
  const begun: unknown[] = []
  await bus.subscribe('t', { group: 'g', order: 'key', lease: 300 }, ({ body }) => {
    begun.push(body)
    return body === 'a' ? new Promise(() => {}) : undefined
  })
  await bus.publish('t', 'a', { key: 'k' })
  await expect.poll(() => begun).toEqual(['a'])
  await bus.publish('t', 'b', { key: 'k' })
  const status = async () => (await bus.status()).subscriptions[0]!
  await expect.poll(async () => (await status()).parked).toBe(1)
  const { promise, resolve: open } = Promise.withResolvers<void>()
  gate = promise
  await bus.publish('t', 'c', { key: 'k' })
  await expect.poll(async () => (await status()).inHand).toBe(3)
  lose = true
  await expect.poll(() => given).toEqual(['"b"', '"c"'])
  open()
  await expect.poll(() => begun).toEqual(['a', 'b', 'c'])
})
