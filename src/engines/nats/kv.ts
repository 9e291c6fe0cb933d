import type { KV, KvWatchEntry, KvEntry as NatsEntry } from '@nats-io/kv'
import { BusError } from '../../errors.ts'
import { matcher } from '../../topic/pattern.ts'
import type { KeyValueStore, KvBucket, KvEntry, KvOptions } from '../engine.ts'
import type { Buckets } from './buckets.ts'
import { apiCode, isApi, natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'

/** Buckets of NATS, as any client of NATS sees them. */
export class NatsKv implements KeyValueStore {
  readonly #buckets: Buckets
  readonly #options: NatsOptions

  constructor(buckets: Buckets, options: NatsOptions) {
    this.#buckets = buckets
    this.#options = options
  }

  async open(bucket: string, { history, ttlMs }: KvOptions): Promise<KvBucket> {
    const name = bucket.replaceAll('.', '_')
    try {
      const kv = await this.#buckets.manager.create(name, {
        history: history ?? 1,
        replicas: this.#options.replicas ?? 1,
        ...(ttlMs === undefined ? {} : { ttl: ttlMs }),
      })
      return new NatsBucket(kv, name)
    } catch (error) {
      throw natsError(error, `bucket '${bucket}'`)
    }
  }
}

class NatsBucket implements KvBucket {
  readonly #kv: KV
  readonly #name: string

  constructor(kv: KV, name: string) {
    this.#kv = kv
    this.#name = name
  }

  async get(key: string): Promise<KvEntry | undefined> {
    const entry = await this.#run(() => this.#kv.get(key))
    return entry ? entryOf(entry) : undefined
  }

  put(key: string, value: Uint8Array, expected?: number): Promise<number> {
    return this.#run(() =>
      expected === undefined
        ? this.#kv.put(key, value)
        : expected === 0
          ? this.#kv.create(key, value)
          : this.#kv.update(key, value, expected),
    )
  }

  async delete(key: string, expected?: number): Promise<number> {
    await this.#run(() => this.#kv.delete(key, expected === undefined ? {} : { previousSeq: expected }))
    return (await this.get(key))?.revision ?? 0
  }

  async keys(pattern: string): Promise<string[]> {
    const found: string[] = []
    for await (const key of await this.#run(() => this.#kv.keys(pattern))) found.push(key)
    return found
  }

  async history(key: string): Promise<KvEntry[]> {
    const found: KvEntry[] = []
    for await (const entry of await this.#run(() => this.#kv.history({ key }))) found.push(entryOf(entry))
    return found
  }

  async watch(pattern: string, listener: (entries: readonly KvEntry[]) => void, onReady: () => void): Promise<{ close(): Promise<void> }> {
    const fits = matcher(pattern)
    const standing = (await this.keys(pattern)).length
    const changes = await this.#run(() => this.#kv.watch({ key: pattern }))
    let ready = standing === 0
    if (ready) queueMicrotask(onReady)
    void (async () => {
      for await (const entry of changes as AsyncIterable<KvWatchEntry>) {
        if (!ready && entry.isUpdate) {
          ready = true
          onReady()
        }
        if (fits(entry.key)) listener([entryOf(entry)])
        if (!ready && entry.delta === 0) {
          ready = true
          onReady()
        }
      }
    })()
    return { close: async () => changes.stop() }
  }

  async #run<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      if (isApi(error, apiCode.wrongLastSequence))
        throw new BusError('conflict', `bucket '${this.#name}': the key stands at another revision`, { cause: error })
      throw natsError(error, `bucket '${this.#name}'`)
    }
  }
}

function entryOf(entry: NatsEntry): KvEntry {
  return {
    key: entry.key,
    value: entry.value,
    revision: entry.revision,
    operation: entry.operation === 'PUT' ? 'put' : 'delete',
    at: entry.created.getTime(),
  }
}
