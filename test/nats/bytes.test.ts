import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { expect, test, vi } from 'vitest'
import type { Delivery, DeliverySink, SubscriptionSpec } from '../../src/engines/engine.ts'
import { openNats } from '../../src/engines/nats/engine.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

const kib = 1024

interface Storing {
  readonly storage: string
  readonly order: SubscriptionSpec['order']
  readonly sizes: readonly number[]
}

/** A member of a group of what is stored, with what it has had; the core's part is the test's. */
async function member(server: NatsNode, { storage, order, sizes }: Storing) {
  const engine = await openNats(server.url, { partitions: 4 })
  await engine.admin.declare(storage)
  const message = (i: number) => ({
    storage,
    name: storage.replace('*', 'a'),
    id: `m${i}`,
    key: order === 'none' ? undefined : `k${i % 23}`,
    headers: undefined,
    body: new Uint8Array(sizes[i]!),
    at: Date.now(),
    deliverAt: undefined,
  })
  for (let i = 0; i < sizes.length; i += 20) {
    const outcomes = await engine.publish(sizes.slice(i, i + 20).map((_, n) => message(i + n)))
    expect(outcomes.every(({ ok }) => ok)).toBe(true)
  }
  const inHand: Delivery[] = []
  const sink: DeliverySink = {
    deliver: (batch) => void inHand.push(...batch),
    lost() {},
    assigned() {},
    leaving() {},
    revoked() {},
    warned() {},
  }
  const source = { storage, filter: undefined, lanes: storage, from: 'earliest' as const }
  const work = await engine.subscribe({ group: 'g', sources: [source], order, orderScope: 'group', leaseMs: 20_000, member: 'm' }, sink)
  const client = await server.connect()
  const jsm = await jetstreamManager(client)
  const stream = (await jsm.streams.names().next()).find((name) => !name.startsWith('KV_'))!
  /** What the server has sent, as messages and readers. */
  const sent = async () => {
    const infos = (await jsm.consumers.list(stream).next()).filter(({ config }) => config.durable_name !== undefined)
    return { messages: infos.reduce((sum, { num_ack_pending }) => sum + num_ack_pending, 0), readers: infos.length }
  }
  const end = async (): Promise<void> => {
    await work.close()
    await client.close()
    await engine.close()
  }
  return { work, inHand, sent, end }
}

await describeNats('bodies that are large', (version) => {
  for (const [order, storage] of [
    ['none', 'large'],
    ['key', 'large.*'],
  ] as const)
    test(`are not received beyond what was granted, and a message a reader: order '${order}'`, async () => {
      await using server = await startNats({ version })
      const size = 100 * kib
      const { work, inHand, sent, end } = await member(server, { storage, order, sizes: Array(200).fill(size) })
      const granted = 2000 * kib
      work.grant(150, granted)
      await vi.waitFor(() => expect(inHand.length).toBeGreaterThanOrEqual(granted / size), 5000)
      await sleep(1500)
      const { messages, readers } = await sent()
      expect(messages).toBeLessThanOrEqual(granted / size + readers)
      // As the core goes on, all of it comes, and never more at once.
      let done = 0
      const begun = performance.now()
      while (done < 200) {
        await vi.waitFor(() => expect(inHand.length).toBeGreaterThan(0), 3000)
        const batch = inHand.splice(0)
        await work.settle(batch.map((delivery) => ({ kind: 'ack', delivery })))
        done += batch.length
        work.grant(batch.length, batch.length * size)
        expect((await sent()).messages).toBeLessThanOrEqual(granted / size + readers)
      }
      expect(performance.now() - begun).toBeLessThan(5000)
      await end()
    }, 30_000)

  test('come though each is larger than what was granted, and among small ones', async () => {
    await using server = await startNats({ version })
    const sizes = Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? 900 * kib : 100))
    const { work, inHand, sent, end } = await member(server, { storage: 'mixed', order: 'none', sizes })
    work.grant(64, 50 * kib)
    const begun = performance.now()
    for (let done = 0; done < sizes.length; ) {
      await vi.waitFor(() => expect(inHand.length).toBeGreaterThan(0), 3000)
      expect(inHand.reduce((sum, { body }) => sum + body.byteLength, 0)).toBeLessThanOrEqual(50 * kib + 900 * kib)
      // Sent and not settled: what was granted, one message, and small ones.
      expect((await sent()).messages).toBeLessThan(6)
      const batch = inHand.splice(0)
      await work.settle(batch.map((delivery) => ({ kind: 'ack', delivery })))
      done += batch.length
      work.grant(
        batch.length,
        batch.reduce((sum, { body }) => sum + body.byteLength, 0),
      )
    }
    expect(performance.now() - begun).toBeLessThan(5000)
    await end()
  }, 30_000)
})
