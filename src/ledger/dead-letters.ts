import { createHash } from 'node:crypto'
import { BusError } from '../errors.ts'
import type { Headers } from '../message/headers.ts'
import { wire } from '../message/wire.ts'
import { letterBlobKey } from './blobs.ts'
import type { Ledger, LedgerRecord } from './ledger.ts'

/** A message a group gave up on, as it was, with the reason. */
export interface DeadLetter {
  /** Derived from topic, group and message: a crash between storing and acknowledging makes no second one. */
  readonly id: string
  readonly topic: string
  /** The unit of storage it was read from. */
  readonly storage: string
  readonly group: string
  readonly messageId: string
  readonly key: string | undefined
  readonly headers: Headers
  readonly bytes: Uint8Array
  readonly publishedAt: Date
  readonly attempts: number
  readonly crashes: number
  readonly firstFailure: Date
  readonly lastFailure: Date
  readonly error: string
  /** How often it had been replayed before it failed again. */
  readonly replays: number
}

export function deadLetterId(storage: string, group: string, messageId: string): string {
  return createHash('sha256').update(`${storage}\n${group}\n${messageId}`).digest('hex').slice(0, 32)
}

interface Meta {
  topic: string
  messageId: string
  key?: string | undefined
  headers: Headers
  at: number
  attempts: number
  crashes: number
  first: number
  last: number
  error: string
  replays: number
}

/** The shelf of one storage and group. The newest failures come last: keys begin with nothing but the derived id, the list is in that order. */
export class DeadLetters {
  readonly #ledger: Ledger
  readonly #storage: string
  readonly #group: string
  readonly #prefix: string

  constructor(ledger: Ledger, storage: string, group: string) {
    this.#ledger = ledger
    this.#storage = storage
    this.#group = group
    this.#prefix = `${storage}/${group}/`
  }

  /** A body that was stored aside is kept with the letter, whatever becomes of the message's own. */
  async add(letter: Omit<DeadLetter, 'id' | 'storage' | 'group'>): Promise<void> {
    const id = deadLetterId(this.#storage, this.#group, letter.messageId)
    const records: LedgerRecord[] = []
    let { headers } = letter
    const aside = headers[wire.blob]
    const [body] = aside === undefined ? [] : await this.#ledger.read('blobs', [aside])
    if (body) {
      const key = letterBlobKey(this.#storage, this.#group, id)
      records.push({ space: 'blobs', key, value: body })
      headers = { ...headers, [wire.blob]: key }
    }
    const meta: Meta = {
      topic: letter.topic,
      messageId: letter.messageId,
      key: letter.key,
      headers,
      at: letter.publishedAt.getTime(),
      attempts: letter.attempts,
      crashes: letter.crashes,
      first: letter.firstFailure.getTime(),
      last: letter.lastFailure.getTime(),
      error: letter.error,
      replays: letter.replays,
    }
    const text = Buffer.from(JSON.stringify(meta))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(text.length)
    records.push({ space: 'dead-letters', key: this.#prefix + id, value: Buffer.concat([length, text, letter.bytes]) })
    await this.#ledger.write(records)
  }

  /** With its whole body. @throws BusError `not_found` */
  async get(id: string): Promise<DeadLetter> {
    const [value] = await this.#ledger.read('dead-letters', [this.#prefix + id])
    if (!value) throw new BusError('not_found', `no dead letter '${id}' in topic '${this.#storage}', group '${this.#group}'`)
    return this.whole(this.#parse(id, value))
  }

  /** The letter with the body that was stored aside, where one was. */
  async whole(letter: DeadLetter): Promise<DeadLetter> {
    const aside = letter.headers[wire.blob]
    if (aside === undefined) return letter
    const [bytes] = await this.#ledger.read('blobs', [aside])
    return bytes ? { ...letter, bytes } : letter
  }

  /** In the order of ids; the next page begins after the last one's id. A body that was stored aside is not read: {@link get} does. */
  async list(page: { limit?: number; after?: string } = {}): Promise<DeadLetter[]> {
    const entries = await this.#ledger.list('dead-letters', this.#prefix, {
      limit: page.limit ?? 100,
      after: page.after === undefined ? undefined : this.#prefix + page.after,
    })
    return entries.map(({ key, value }) => this.#parse(key.slice(this.#prefix.length), value))
  }

  count(): Promise<number> {
    return this.#ledger.count('dead-letters', this.#prefix)
  }

  /** Returns how many of them there were. */
  async discard(ids: readonly string[]): Promise<number> {
    const found = await this.#ledger.read(
      'dead-letters',
      ids.map((id) => this.#prefix + id),
    )
    const records: LedgerRecord[] = []
    let count = 0
    for (const [i, id] of ids.entries()) {
      const value = found[i]
      if (!value) continue
      count++
      records.push({ space: 'dead-letters', key: this.#prefix + id, value: undefined })
      const aside = this.#parse(id, value).headers[wire.blob]
      if (aside !== undefined) records.push({ space: 'blobs', key: aside, value: undefined })
    }
    if (records.length > 0) await this.#ledger.write(records)
    return count
  }

  #parse(id: string, value: Uint8Array): DeadLetter {
    const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    const end = 4 + view.readUInt32BE(0)
    const meta = JSON.parse(view.toString('utf8', 4, end)) as Meta
    return {
      id,
      topic: meta.topic,
      storage: this.#storage,
      group: this.#group,
      messageId: meta.messageId,
      key: meta.key,
      headers: meta.headers,
      bytes: value.subarray(end),
      publishedAt: new Date(meta.at),
      attempts: meta.attempts,
      crashes: meta.crashes,
      firstFailure: new Date(meta.first),
      lastFailure: new Date(meta.last),
      error: meta.error,
      replays: meta.replays,
    }
  }
}
