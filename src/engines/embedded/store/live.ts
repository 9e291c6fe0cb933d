import type { StatementSync } from 'node:sqlite'
import { isPrivate } from '../../../topic/name.ts'
import { matcher, overlaps } from '../../../topic/pattern.ts'
import { buffersOf, type MessageRow, packRows } from '../columns.ts'
import type { Database } from './database.ts'
import type { Outbox } from './outbox.ts'
import type { Topics } from './topics.ts'

const pageMost = 500
const bigBody = 16 * 1024
const pageOfBig = 50

interface Listener {
  readonly id: number
  readonly pattern: string
  readonly matches: (name: string) => boolean
}

/** Follows the end of the topics for listeners that have no group: reads what is there, writes nothing. */
export class Live {
  readonly #topics: Topics
  readonly #out: Outbox
  readonly #listeners = new Map<number, Listener>()
  readonly #changed: StatementSync
  readonly #page: StatementSync
  readonly #last: StatementSync
  #seen = 0

  constructor(db: Database, topics: Topics, out: Outbox) {
    this.#topics = topics
    this.#out = out
    this.#changed = db.rows('SELECT id, name, last_seq FROM topic WHERE last_seq>? ORDER BY last_seq')
    this.#page = db.rows(
      'SELECT seq, id, at, name, key, headers, body FROM message WHERE topic=? AND seq>? AND seq<=? ORDER BY seq LIMIT ?',
    )
    this.#last = db.rows('SELECT coalesce(max(last_seq), 0) FROM topic')
  }

  listen(id: number, pattern: string): void {
    // Those that listen already are told first of what they have not heard.
    if (this.#listeners.size > 0) this.tell()
    else this.#seen = (this.#last.get() as unknown as [number])[0]
    this.#listeners.set(id, { id, pattern, matches: matcher(pattern) })
  }

  unlisten(id: number): void {
    this.#listeners.delete(id)
  }

  tell(): void {
    if (this.#listeners.size === 0) return
    const changed = this.#changed.all(this.#seen) as unknown as [number, string, number][]
    if (changed.length === 0) return
    const from = this.#seen
    for (const [id, name, last] of changed) {
      this.#seen = Math.max(this.#seen, last)
      const listeners = [...this.#listeners.values()].filter(
        ({ pattern }) => overlaps(pattern, name) && isPrivate(name) === isPrivate(pattern),
      )
      for (let place = from; listeners.length > 0 && place < last; ) {
        const rows = this.#page.all(
          id,
          place,
          last,
          (this.#topics.byId(id)?.biggest ?? 0) > bigBody ? pageOfBig : pageMost,
        ) as unknown as MessageRow[]
        if (rows.length === 0) break
        place = rows.at(-1)![0]
        for (const listener of listeners) {
          const heard = rows.filter((row) => listener.matches(row[3] ?? name))
          if (heard.length === 0) continue
          const columns = packRows(heard, name, undefined)
          this.#out.push({ op: 'live', listener: listener.id, columns }, buffersOf(columns))
        }
      }
    }
  }
}
