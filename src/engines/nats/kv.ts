import { DeliverPolicy } from '@nats-io/jetstream'
import type { KV } from '@nats-io/kv'
import type { Msg } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { KeyValueStore, KvBucket, KvEntry, KvOptions } from '../engine.ts'
import type { Api } from './api.ts'
import { untilAnswered, untilHeard } from './asking.ts'
import type { Buckets } from './buckets.ts'
import type { Connection } from './connection.ts'
import type { AckInfo } from './delivery.ts'
import { apiCode, isApi, natsError } from './failure.ts'
import { Feed } from './feed.ts'
import { headersOf } from './headers.ts'
import { readOnce } from './reading.ts'

export interface KvParts {
  readonly connection: Connection
  readonly api: Api
  readonly buckets: Buckets
}

/** Buckets of NATS, as any client of NATS sees them. */
export class NatsKv implements KeyValueStore {
  readonly #parts: KvParts

  constructor(parts: KvParts) {
    this.#parts = parts
  }

  async open(bucket: string, { history, ttlMs }: KvOptions): Promise<KvBucket> {
    const name = bucket.replaceAll('.', '_')
    try {
      const kv = await this.#parts.buckets.open(name, { history: history ?? 1, ...(ttlMs === undefined ? {} : { ttl: ttlMs }) })
      return new NatsBucket(this.#parts, kv, name)
    } catch (error) {
      throw natsError(error, `bucket '${bucket}'`)
    }
  }
}

/** Reads and writes by the client; whatever it would keep a consumer for, and leave it behind, is our own. */
class NatsBucket implements KvBucket {
  readonly #parts: KvParts
  readonly #kv: KV
  readonly #name: string
  readonly #stream: string
  readonly #start: string

  constructor(parts: KvParts, kv: KV, name: string) {
    this.#parts = parts
    this.#kv = kv
    this.#name = name
    this.#stream = `KV_${name}`
    this.#start = `$KV.${name}.`
  }

  async get(key: string): Promise<KvEntry | undefined> {
    const entry = await this.#run(() => untilAnswered(() => this.#kv.get(key)))
    if (!entry) return undefined
    const { value, revision, operation, created } = entry
    return { key: entry.key, value, revision, operation: operation === 'PUT' ? 'put' : 'delete', at: created.getTime() }
  }

  put(key: string, value: Uint8Array, expected?: number): Promise<number> {
    return this.#run(() =>
      untilHeard(() =>
        expected === undefined
          ? this.#kv.put(key, value)
          : expected === 0
            ? this.#kv.create(key, value)
            : this.#kv.update(key, value, expected),
      ),
    )
  }

  async delete(key: string, expected?: number): Promise<number> {
    await this.#run(() => untilHeard(() => this.#kv.delete(key, expected === undefined ? {} : { previousSeq: expected })))
    return (await this.get(key))?.revision ?? 0
  }

  keys(pattern: string): Promise<string[]> {
    // Only a message tells whether it is the mark of a deletion: the server's list of subjects has both.
    return this.#read(pattern, DeliverPolicy.LastPerSubject, true, (msg) =>
      isDeletion(msg) ? undefined : msg.subject.slice(this.#start.length),
    )
  }

  history(key: string): Promise<KvEntry[]> {
    return this.#read(key, DeliverPolicy.All, false, this.#entry)
  }

  /** What stands at one sequence is read, and what comes behind it is heard meanwhile: there is nothing between the two. */
  async watch(pattern: string, listener: (entries: readonly KvEntry[]) => void, onReady: () => void): Promise<{ close(): Promise<void> }> {
    const { api, connection } = this.#parts
    let waiting: KvEntry[] | undefined = []
    const take = (msg: Msg, told: AckInfo): void => {
      const entry = this.#entry(msg, told)
      if (waiting) waiting.push(entry)
      else listener([entry])
    }
    const stands = await this.#run(async () => (await api.streams.info(this.#stream)).state.last_seq)
    const parts = { connection, api, stream: this.#stream, subject: this.#start + pattern, take }
    const feed = await this.#run(() => Feed.open(parts, stands))
    try {
      const found = await this.#read(pattern, DeliverPolicy.LastPerSubject, false, (msg, told) =>
        isDeletion(msg) || told.sequence > stands ? undefined : this.#entry(msg, told),
      )
      if (found.length > 0) listener(found)
    } catch (error) {
      await feed.close()
      throw error
    }
    onReady()
    if (waiting.length > 0) listener(waiting)
    waiting = undefined
    return { close: () => feed.close() }
  }

  #read<T>(pattern: string, policy: DeliverPolicy, headersOnly: boolean, take: (msg: Msg, told: AckInfo) => T | undefined): Promise<T[]> {
    const { connection, api } = this.#parts
    const config = { filter_subject: this.#start + pattern, deliver_policy: policy, headers_only: headersOnly }
    return this.#run(() => readOnce(connection, api, this.#stream, config, Number.POSITIVE_INFINITY, take))
  }

  #entry = (msg: Msg, { sequence, atMs }: AckInfo): KvEntry => ({
    key: msg.subject.slice(this.#start.length),
    value: msg.data,
    revision: sequence,
    operation: isDeletion(msg) ? 'delete' : 'put',
    at: atMs,
  })

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

/** By a client, or by the server at the end of an entry's time. */
function isDeletion(msg: Msg): boolean {
  const headers = headersOf(msg)
  const operation = headers?.get('KV-Operation')
  return operation === 'DEL' || operation === 'PURGE' || headers?.has('Nats-Marker-Reason') === true
}
