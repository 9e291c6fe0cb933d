import { newId } from '../message/id.ts'
import type { Ledger } from './ledger.ts'

/** Of a member that has died and whose messages all came again long ago, or whose group has been idle since. */
const keptMs = 7 * 24 * 3600_000
const pageSize = 1000

/**
 * What each member of a group has in hand, one record a member. A record that a member leaves behind says what it died with.
 * A group's name does not hold the separator.
 */
export class HandBook {
  readonly #ledger: Ledger
  readonly #prefix: string
  readonly #own: string

  constructor(ledger: Ledger, group: string) {
    this.#ledger = ledger
    this.#prefix = `${group}/`
    this.#own = this.#prefix + newId()
  }

  /** What this member has in hand from now on. */
  write(messages: readonly string[]): Promise<void> {
    const value = messages.length === 0 ? undefined : Buffer.from(JSON.stringify({ at: Date.now(), messages }))
    return this.#ledger.write([{ space: 'hands', key: this.#own, value }])
  }

  /** What others have in hand, or had when they died: the records that name a message, by the message. */
  async others(): Promise<Map<string, string[]>> {
    const found = new Map<string, string[]>()
    for (let after: string | undefined; ; ) {
      const page = await this.#ledger.list('hands', this.#prefix, { after, limit: pageSize })
      for (const { key, value } of page) if (key !== this.#own) this.#read(key, value, found)
      if (page.length < pageSize) return found
      after = page.at(-1)!.key
    }
  }

  #read(key: string, value: Uint8Array, found: Map<string, string[]>): void {
    const { at, messages } = JSON.parse(Buffer.from(value).toString()) as { at: number; messages: string[] }
    if (Date.now() - at > keptMs) {
      // Whoever lists it next tries again.
      void this.#ledger.write([{ space: 'hands', key, value: undefined }]).catch(() => {})
      return
    }
    for (const message of messages) found.set(message, [...(found.get(message) ?? []), key])
  }
}
