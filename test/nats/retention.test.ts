import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { afterAll, expect, test } from 'vitest'
import { type Bus, connect, topic } from '../../src/index.ts'
import { startCluster } from '../rig/cluster.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

const numbers = (from: number, to: number): { n: number }[] => Array.from({ length: to - from }, (_, i) => ({ n: from + i }))
const patience = { timeout: 20_000, interval: 200 }

async function join(bus: Bus, of: Parameters<Bus['subscribe']>[0], group: string) {
  const got: number[] = []
  const work = await bus.subscribe(of, { group }, ({ body }) => void got.push((body as { n: number }).n))
  return { sorted: () => got.toSorted((a, b) => a - b), close: () => work.close() }
}

await describeNats('the retention of a topic made here', async (version) => {
  const server = await startNats({ version })
  afterAll(() => server.stop())

  test('R3: what a group has not settled is not deleted, whatever its number, size and age; what all have settled is', async () => {
    await using bus = await connect(server.url)
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    const held = async (name: string): Promise<number> => (await jsm.streams.info(`${name}_STREAM`)).state.messages
    const kinds = {
      by_number: topic('by_number', { retention: { messages: 10 } }),
      by_bytes: topic('by_bytes', { retention: { bytes: 1500 } }),
      by_age: topic('by_age', { retention: { age: 2000 } }),
      by_key_ANY: topic('by_key.{n}', { key: ({ n }: { n: number }) => String(n), retention: { messages: 10 } }),
    }
    const publish = async (from: number, to: number): Promise<void> => {
      for (const [name, kind] of Object.entries(kinds))
        for (const outcome of await bus.publishMany(
          name === 'by_key_ANY' ? kinds.by_key_ANY.with({ n: 'x' }) : (kind as typeof kinds.by_age),
          numbers(from, to),
        ))
          expect(outcome).toMatchObject({ ok: true })
    }
    for (const kind of Object.values(kinds)) for (const group of ['slow', 'quick']) await (await join(bus, kind, group)).close()
    await publish(0, 40)
    const quick = await Promise.all(Object.values(kinds).map((kind) => join(bus, kind, 'quick')))
    for (const one of quick) await expect.poll(() => one.sorted().length).toBe(40)
    // More than two looks.
    await sleep(14_000)
    for (const name of Object.keys(kinds)) expect([name, await held(name)]).toEqual([name, 40])
    await publish(40, 41)
    const slow = await Promise.all(Object.values(kinds).map((kind) => join(bus, kind, 'slow')))
    for (const one of slow) await expect.poll(() => one.sorted()).toEqual(numbers(0, 41).map(({ n }) => n))
    await expect.poll(() => held('by_number'), patience).toBe(10)
    await expect.poll(() => held('by_key_ANY'), patience).toBe(10)
    await expect.poll(() => held('by_age'), patience).toBe(0)
    await expect.poll(() => held('by_bytes'), patience).toBeLessThan(20)
    expect(await held('by_bytes')).toBeGreaterThan(5)
    expect((await bus.admin.browse(kinds.by_number)).messages.map(({ body }) => body)).toEqual(numbers(31, 41))
    await Promise.all([...quick, ...slow].map((one) => one.close()))
    await client.close()
  }, 60_000)

  test('without a group the newest are kept; a stream of others is left to them', async () => {
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    await jsm.streams.add({ name: 'THEIRS', subjects: ['theirs'] })
    await using bus = await connect(server.url)
    await bus.publishMany(topic('theirs', { retention: { messages: 10 } }), numbers(0, 35))
    const alone = topic('alone', { retention: { messages: 10 } })
    await bus.publishMany(alone, numbers(0, 35))
    const messages = async () => (await bus.admin.browse(alone)).messages.map(({ body }) => body)
    await expect.poll(messages, patience).toEqual(numbers(25, 35))
    expect((await jsm.streams.info('THEIRS')).state.messages).toBe(35)
    await client.close()
  }, 60_000)
})

await describeNats('a stream in three copies that refuses at its limit', (version) => {
  test('R1: a refused id is never said to be stored', async () => {
    await using cluster = await startCluster({ version })
    const client = await cluster.nodes[0]!.connect()
    const jsm = await jetstreamManager(client)
    await jsm.streams.add({ name: 'FULL', subjects: ['full'], num_replicas: 3, max_msgs: 3, discard: 'new' })
    await using bus = await connect(cluster.url)
    for (const body of numbers(0, 3)) await bus.publish('full', body)
    const late = () => bus.publish('full', { n: 3 }, { id: 'late', timeout: 1000 })
    await expect(late()).rejects.toMatchObject({ code: 'store_full', message: expect.stringContaining('maximum messages') })
    await expect(late()).rejects.toMatchObject({ code: version.startsWith('2.10.') ? 'publish_unknown' : 'store_full' })
    await jsm.streams.purge('FULL')
    const stored = await late().then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject({ code: 'publish_unknown' })
        return false
      },
    )
    expect((await jsm.streams.info('FULL')).state.messages).toBe(stored ? 1 : 0)
    await client.close()
  }, 90_000)
})
