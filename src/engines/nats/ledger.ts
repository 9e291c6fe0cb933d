import { JetStreamApiError } from '@nats-io/jetstream'
import type { KV } from '@nats-io/kv'
import type { ObjectStore } from '@nats-io/obj'
import { BusError } from '../../errors.ts'
import type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../../ledger/ledger.ts'
import { each } from '../each.ts'
import type { Api } from './api.ts'
import { untilAnswered } from './asking.ts'
import type { Buckets } from './buckets.ts'
import type { Connection } from './connection.ts'
import { natsError } from './failure.ts'
import { blobsBucket, ledgerBucket } from './names.ts'

interface Page {
  readonly after?: string | undefined
  readonly limit: number
}

const stream = `KV_${ledgerBucket}`
/** Where changes are told. */
const news = '_cozebus.ledger.'
/** How long a read waits for a leader, ms. */
const readMs = 3000
/** How many values are read at once. */
const together = 64
/** A record larger than a message may be is an object of this name; in its place in the bucket stands a mark that no record begins with. */
const asidePrefix = '!records/'
const aside = new Uint8Array([0xff, 0x61])
/** Room for the headers of a write in the server's limit of a message. */
const headerRoom = 512
/** Spaces whose records may be such. */
const mayBeLarge: ReadonlySet<LedgerSpace> = new Set(['dead-letters', 'schedules', 'hands'])

/** The ledger in a bucket of its own; bodies stored aside in an object store, as they may be larger than a message. */
export class NatsLedger implements Ledger {
  readonly name: string
  readonly #connection: Connection
  readonly #api: Api
  readonly #buckets: Buckets
  readonly #objects: () => Promise<ObjectStore>

  constructor(name: string, connection: Connection, api: Api, buckets: Buckets) {
    this.#connection = connection
    this.#api = api
    this.name = name
    this.#buckets = buckets
    let opening: Promise<ObjectStore> | undefined
    this.#objects = () => {
      opening ??= buckets.objects(blobsBucket).catch((error) => {
        opening = undefined
        throw error
      })
      return opening
    }
  }

  #bucket(): Promise<KV> {
    return this.#buckets.get(ledgerBucket)
  }

  async write(records: readonly LedgerRecord[]): Promise<void> {
    let sent = false
    try {
      const kv = await this.#bucket()
      // The client would keep it, and send it when we have said that it failed.
      this.#connection.mustBeConnected()
      sent = true
      // In the order given: one connection and one stream keep it. Blobs first, as other records point at them.
      for (const { key, value } of records.filter(({ space }) => space === 'blobs')) await this.#writeBlob(key, value)
      await Promise.all(
        records
          .filter(({ space }) => space !== 'blobs')
          .map(async ({ space, key, value }) => {
            const subject = encode(space, key)
            if (value) await kv.put(subject, await this.#fitting(subject, value))
            else await this.#delete(kv, space, subject)
          }),
      )
      for (const { space, key } of records) this.#connection.nc.publish(`${news}${encode(space, key)}`)
    } catch (thrown) {
      const error = natsError(thrown, 'the ledger')
      throw sent && isSilence(thrown, error) ? new BusError('publish_unknown', error.message, { cause: thrown }) : error
    }
  }

  async #fitting(subject: string, value: Uint8Array): Promise<Uint8Array> {
    if (value.byteLength + headerRoom <= (this.#connection.nc.info?.max_payload ?? Number.POSITIVE_INFINITY)) return value
    await (await this.#objects()).putBlob({ name: asidePrefix + subject }, value)
    return aside
  }

  async #delete(kv: KV, space: LedgerSpace, subject: string): Promise<void> {
    const whole = mayBeLarge.has(space) ? await kv.get(subject) : undefined
    // Not the bucket's own way, which leaves a mark for each key for ever.
    await this.#api.streams.purge(stream, { filter: `$KV.${ledgerBucket}.${subject}` })
    if (whole && isAside(whole.value)) await this.#writeBlob(asidePrefix + subject, undefined)
  }

  async #writeBlob(key: string, value: Uint8Array | undefined): Promise<void> {
    const objects = await this.#objects()
    if (value) await objects.putBlob({ name: key }, value)
    else await objects.delete(key).catch(() => {}) // it was gone already
  }

  async read(space: LedgerSpace, keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    try {
      if (space === 'blobs') {
        const objects = await this.#objects()
        return await Promise.all(keys.map(async (key) => (await objects.getBlob(key)) ?? undefined))
      }
      const kv = await this.#bucket()
      return await each(keys, together, async (key) => {
        const entry = await untilAnswered(() => kv.get(encode(space, key)), readMs)
        if (entry?.operation !== 'PUT') return undefined
        return isAside(entry.value) ? ((await (await this.#objects()).getBlob(asidePrefix + entry.key)) ?? undefined) : entry.value
      })
    } catch (error) {
      throw natsError(error, 'the ledger')
    }
  }

  async list(space: LedgerSpace, prefix: string, page: Page): Promise<LedgerEntry[]> {
    const keys = await this.keys(space, prefix, page)
    const values = await this.read(space, keys)
    return keys.flatMap((key, i) => (values[i] ? [{ key, value: values[i] }] : []))
  }

  async keys(space: LedgerSpace, prefix: string, page: Page): Promise<string[]> {
    const all = await this.#all(space, prefix)
    return all.filter((key) => page.after === undefined || key > page.after).slice(0, page.limit)
  }

  async count(space: LedgerSpace, prefix: string): Promise<number> {
    return (await this.#all(space, prefix)).length
  }

  /** The server lists in no order: all of them are looked at, names only. */
  async #all(space: LedgerSpace, prefix: string): Promise<string[]> {
    try {
      const found: string[] = []
      if (space === 'blobs') {
        for (const { name, deleted } of await (await this.#objects()).list())
          if (!deleted && name.startsWith(prefix) && !name.startsWith(asidePrefix)) found.push(name)
      } else {
        await this.#bucket()
        const whole = prefix.slice(0, prefix.lastIndexOf('/') + 1)
        const filter = whole === '' ? `${space}.>` : `${encode(space, whole.slice(0, -1))}.>`
        const start = `$KV.${ledgerBucket}.`
        const { state } = await this.#api.streams.info(stream, { subjects_filter: `${start}${filter}` })
        for (const subject in state.subjects) {
          const plain = decode(subject.slice(start.length))
          if (plain.startsWith(prefix)) found.push(plain)
        }
      }
      return found.sort()
    } catch (error) {
      throw natsError(error, 'the ledger')
    }
  }

  /** Told by those who write, over core NATS: by no consumer that must be kept. */
  watch(space: LedgerSpace, prefix: string, listener: (key: string) => void): () => void {
    const subscription = this.#connection.nc.subscribe(`${news}${space}.>`, {
      callback: (failure, msg) => {
        if (failure) return
        let key: string
        try {
          key = decode(msg.subject.slice(news.length))
        } catch {
          return // none of ours; thrown here it would end all reading
        }
        if (key.startsWith(prefix)) listener(key)
      },
    })
    // What changed while nobody could hear it is not known: a watcher of one key looks again.
    const stop = this.#connection.listen({ back: () => listener(prefix) })
    return () => {
      stop()
      subscription.unsubscribe()
    }
  }
}

/** No answer is no refusal. */
function isSilence(thrown: unknown, { code }: BusError): boolean {
  return !(thrown instanceof JetStreamApiError) && (code === 'engine_unavailable' || code === 'closed')
}

function isAside(value: Uint8Array): boolean {
  return value.byteLength === aside.byteLength && value.every((byte, i) => byte === aside[i])
}

/** A key as a bucket takes it: one token for each part between slashes, of its few characters. */
function encode(space: LedgerSpace, key: string): string {
  return `${space}.${key.split('/').map(encodePart).join('.')}`
}

function encodePart(part: string): string {
  return part === ''
    ? '='
    : encodeURIComponent(part).replace(/[.!'()*~%=]/g, (one) => (one === '%' ? '=' : `=${one.charCodeAt(0).toString(16).toUpperCase()}`))
}

function decode(key: string): string {
  return key
    .split('.')
    .slice(1)
    .map((part) => (part === '=' ? '' : decodeURIComponent(part.replaceAll('=', '%'))))
    .join('/')
}
