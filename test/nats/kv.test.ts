import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import type { KvEntry } from '../../src/engines/engine.ts'
import { openNats } from '../../src/engines/nats/engine.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { eager } from './support.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const shown = ({ key, operation, value }: KvEntry): string => `${operation} ${key} ${new TextDecoder().decode(value)}`

await describeNats('key-value', (version) => {
  test('keys, history and watches leave no consumers behind; deleted keys are none', async () => {
    await using server = await startNats({ version })
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    const consumers = async (): Promise<number> => (await jsm.streams.info('KV_things')).state.consumer_count
    await using bus = await connect(server.url)
    const kv = await bus.kv('things', { history: 5 })
    for (const key of ['a.1', 'a.2', 'b.1', 'c.1']) await kv.put(key, key)
    await kv.put('a.1', 'again')
    await kv.delete('a.2')
    await new Kvm(jsm.jetstream()).open('things').then((raw) => raw.purge('c.1'))
    for (let i = 0; i < 5; i++) {
      expect((await kv.keys()).sort()).toEqual(['a.1', 'b.1'])
      expect(await kv.keys('a.*')).toEqual(['a.1'])
      expect((await kv.history('a.1')).map(({ value }) => value)).toEqual(['a.1', 'again'])
      expect((await kv.history('a.2')).map(({ operation }) => operation)).toEqual(['put', 'delete'])
      expect(await kv.history('never')).toEqual([])
    }
    const stop = new AbortController()
    for await (const { key, value } of kv.watch('a.*', { signal: stop.signal })) {
      expect([key, value]).toEqual(['a.1', 'again'])
      expect(await consumers()).toBeGreaterThan(0)
      break
    }
    await vi.waitFor(async () => expect(await consumers()).toBe(0), 3000)
    await client.close()
  })

  test('a bucket of more keys than the server tells at once is listed whole', async () => {
    await using server = await startNats({ version })
    const client = await server.connect()
    await using bus = await connect(server.url)
    const kv = await bus.kv('many')
    const count = 120_001
    for (let i = 0; i < count; i++) {
      client.publish(`$KV.many.k.${i}`, '1')
      if (i % 10_000 === 0) await client.flush()
    }
    const jsm = await jetstreamManager(client)
    await vi.waitFor(async () => expect((await jsm.streams.info('KV_many')).state.messages).toBe(count), 20_000)
    const keys = await kv.keys()
    expect(new Set(keys).size).toBe(count)
    expect(keys).toHaveLength(count)
    await client.close()
  }, 40_000)

  test('a watch is ready whatever happens while it begins, and misses nothing of it', async () => {
    await using server = await startNats({ version })
    const engine = await openNats(server.url)
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    const raw = await new Kvm(jsm.jetstream()).create('racing')
    const bucket = await engine.kv!.open('racing', {})
    const watched = async (pattern: string, meanwhile: () => Promise<unknown>, afterMs: number) => {
      const state = new Map<string, string>()
      const ready = Promise.withResolvers<void>()
      const take = (entries: readonly KvEntry[]): void => {
        for (const { key, operation, value } of entries)
          operation === 'put' ? state.set(key, new TextDecoder().decode(value)) : state.delete(key)
      }
      const watching = bucket.watch(pattern, take, ready.resolve)
      await sleep(afterMs)
      await meanwhile()
      const watch = await watching
      await ready.promise
      return { state: () => Object.fromEntries(state), close: () => watch.close() }
    }
    for (let round = 0; round < 40; round++) {
      const value = `${round}`
      await Promise.all(['x', 'y', 'gone.1'].map((key) => raw.put(key, value)))
      const changes = (): unknown[] => [raw.purge('y'), raw.put('z', value), round % 2 ? raw.purge('x') : raw.put('x', 'new')]
      const some = await watched('*', () => Promise.all(changes()), (round % 10) / 2)
      await vi.waitFor(() => expect(some.state()).toEqual({ z: value, ...(round % 2 ? {} : { x: 'new' }) }), 3000)
      // By the stream, which leaves no mark that a watch could be told of.
      const none = await watched('gone.*', () => jsm.streams.purge('KV_racing', { filter: '$KV.racing.gone.1' }), (round % 10) / 2)
      await Promise.all([some.close(), none.close()])
    }
    await engine.close()
    await client.close()
  }, 30_000)

  test('a watch goes on after its server was away, and after its consumer was deleted', async () => {
    await using server = await startNats({ version })
    const engine = await openNats(server.url, eager)
    const bucket = await engine.kv!.open('away', { history: 10 })
    const seen: string[] = []
    const watch = await bucket.watch(
      '>',
      (entries) => seen.push(...entries.map(shown)),
      () => seen.push('ready'),
    )
    await bucket.put('k', bytes('1'))
    await vi.waitFor(() => expect(seen).toEqual(['ready', 'put k 1']))
    await server.restart()
    await vi.waitFor(() => bucket.put('k', bytes('2')), 10_000)
    await vi.waitFor(() => expect(seen.at(-1)).toBe('put k 2'), 10_000)
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    for await (const { name } of jsm.consumers.list('KV_away')) await jsm.consumers.delete('KV_away', name)
    await bucket.put('k', bytes('3'))
    await vi.waitFor(() => expect(seen.at(-1)).toBe('put k 3'), 10_000)
    expect(seen).toEqual(['ready', 'put k 1', 'put k 2', 'put k 3'])
    await watch.close()
    await engine.close()
    await client.close()
  }, 40_000)
})
