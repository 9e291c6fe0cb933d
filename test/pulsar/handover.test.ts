import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { type Bus, connectEngine } from '../../src/bus.ts'
import { openPulsar } from '../../src/engines/pulsar/engine.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'

await describePulsar('what a member of a group has in hand', async () => {
  const broker = await startPulsar({ extra: { delayedDeliveryTickTimeMillis: '1000' } })
  afterAll(() => broker.stop())
  const busOn = async (ledger: Ledger = memoryLedger()): Promise<Bus> => {
    const engine = await openPulsar(broker.url, { admin: broker.admin, returnMs: 2000 })
    const bus = await connectEngine(engine, { ledger, drain: 2000 })
    onTestFinished(() => bus.close())
    return bus
  }
  const topicOf = (what: string): string => `handover.${what}.${crypto.randomUUID()}`
  const unload = (topic: string): Promise<unknown> =>
    broker.ask(`/admin/v2/persistent/public/default/${encodeURIComponent(topic)}/unload`, { method: 'PUT' })

  test('goes on over an unload of its topic, and is done once, where there is no credit for more', async () => {
    const bus = await busOn()
    const topic = topicOf('unload')
    const runs: boolean[] = []
    await bus.subscribe(topic, { group: 'g', concurrency: 1 }, async (_message, delivery) => {
      await sleep(5000)
      runs.push(delivery.signal.aborted)
    })
    await bus.publish(topic, 1)
    await sleep(500)
    await unload(topic)
    await expect.poll(() => runs.length, { timeout: 10_000 }).toBe(1)
    await expect.poll(() => bus.admin.lag(topic, 'g'), { timeout: 5000 }).toBe(0)
    await sleep(1000)
    expect(runs).toEqual([false])
  }, 30_000)

  test('keeps its attempts when it goes to a member that was there before', async () => {
    const ledger = memoryLedger()
    const buses = [await busOn(ledger), await busOn(ledger)]
    const topic = topicOf('attempts')
    const runs: { readonly member: number; readonly attempt: number }[] = []
    const options = { group: 'g', order: 'key', retry: { attempts: 9, initial: 1000, factor: 1, jitter: 'none' } } as const
    const members = await Promise.all(
      buses.map((bus, member) =>
        bus.subscribe(topic, options, (_message, { attempt }) => {
          runs.push({ member, attempt })
          if (runs.length === 1) throw new Error('not here')
        }),
      ),
    )
    await buses[0]!.publish(topic, 1, { key: 'k' })
    await expect.poll(() => runs.length, { timeout: 10_000 }).toBe(1)
    await sleep(300)
    await members[runs[0]!.member]!.close()
    await expect.poll(() => runs.length, { timeout: 10_000 }).toBe(2)
    expect(runs[1]).toEqual({ member: 1 - runs[0]!.member, attempt: 2 })
  }, 30_000)

  test.each(['none', 'key', 'topic'] as const)(
    'is not there before its time, with order %s',
    async (order) => {
      const bus = await busOn()
      const topic = topicOf('delay')
      const at: number[] = []
      await bus.subscribe(topic, { group: 'g', order, orderScope: 'process' }, () => void at.push(Date.now()))
      const due = Date.now() + 2500
      await bus.publish(topic, 1, { key: 'k', deliverAt: new Date(due) })
      await expect.poll(() => at.length, { timeout: 10_000 }).toBe(1)
      expect(at[0]).toBeGreaterThanOrEqual(due - 5)
    },
    30_000,
  )
})
