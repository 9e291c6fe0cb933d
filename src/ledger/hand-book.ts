import { newId } from '../message/id.ts'
import type { Ledger } from './ledger.ts'

/** Who lives and has something in hand writes its record at least so often. */
export const saidEveryMs = 10 * 60_000
/** A record that did not change for so long while its group was at work is of a dead member, whose messages have come again by then. */
const quietMs = 3600_000
/** Any other, of a group that was idle meanwhile. */
const keptMs = 7 * 24 * 3600_000
const pageSize = 1000

interface Note {
  readonly value: Uint8Array
  readonly messages: readonly string[]
  /** When its member wrote it, and when it was first seen so, ms since the epoch. */
  readonly at: number
  readonly since: number
}

/**
 * What each member of a group has in hand, one record a member. A record that a member leaves behind says what it died with.
 * A group's name does not hold the separator.
 */
export class HandBook {
  /** How this member's record is called. */
  readonly own: string
  readonly #ledger: Ledger
  readonly #prefix: string
  /** As they were read last: most have not changed. */
  #known = new Map<string, Note>()

  constructor(ledger: Ledger, group: string) {
    this.#ledger = ledger
    this.#prefix = `${group}/`
    this.own = this.#prefix + newId()
  }

  /** What this member has in hand from now on. */
  write(messages: readonly string[]): Promise<void> {
    const value = messages.length === 0 ? undefined : Buffer.from(JSON.stringify({ at: Date.now(), messages }))
    return this.#ledger.write([{ space: 'hands', key: this.own, value }])
  }

  /** What others have in hand, or had when they died: the records that name a message, by the message. */
  async others(): Promise<ReadonlyMap<string, readonly string[]>> {
    const known = new Map<string, Note>()
    for (let after: string | undefined; ; ) {
      const page = await this.#ledger.list('hands', this.#prefix, { after, limit: pageSize })
      for (const { key, value } of page) {
        const record = key === this.own ? undefined : this.#read(key, value)
        if (record) known.set(key, record)
      }
      if (page.length < pageSize) break
      after = page.at(-1)!.key
    }
    this.#known = known
    const found = new Map<string, string[]>()
    for (const [key, { messages }] of known) for (const message of messages) found.set(message, [...(found.get(message) ?? []), key])
    return found
  }

  /** Undefined for one whose time is over; it goes. */
  #read(key: string, value: Uint8Array): Note | undefined {
    const now = Date.now()
    const before = this.#known.get(key)
    const record = before && Buffer.compare(before.value, value) === 0 ? before : recordOf(value, now)
    if (now - record.since < quietMs && now - record.at < keptMs) return record
    // Whoever lists it next tries again.
    void this.#ledger.write([{ space: 'hands', key, value: undefined }]).catch(() => {})
    return undefined
  }
}

/** One that cannot be read is nobody's: it says nothing, and goes. */
function recordOf(value: Uint8Array, since: number): Note {
  try {
    const { at, messages } = JSON.parse(Buffer.from(value).toString()) as Note
    return { value, messages: messages.map(String), at: Number(at), since }
  } catch {
    return { value, messages: [], at: 0, since }
  }
}
