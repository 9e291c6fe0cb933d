import type { StatementSync } from 'node:sqlite'
import { isPrivate } from '../../../topic/name.ts'
import { matcher, overlaps } from '../../../topic/pattern.ts'
import { buffersOf, type MessageRow, packRows } from '../columns.ts'
import { liveBytes, liveMost } from '../protocol.ts'
import type { Database } from './database.ts'
import type { Outbox } from './outbox.ts'

const pageMost = 500
const pageBytes = 4 * 1024 * 1024

interface Listener {
  readonly id: number
  readonly pattern: string
  readonly matches: (name: string) => boolean
  /** The last sequence that was there when it came. */
  readonly since: number
}

/** What is to be told of a topic: what lies after `place`, up to `last`. */
interface News {
  readonly topic: number
  readonly name: string
  place: number
  readonly last: number
}

/**
 * Follows the end of the topics for listeners that have no group: reads what is there, writes nothing. What is more than
 * may be on its way stays in the store until the listeners' side has taken what it was sent.
 */
export class Live {
  readonly #out: Outbox
  readonly #flag: Int32Array
  readonly #listeners = new Map<number, Listener>()
  readonly #changed: StatementSync
  readonly #page: StatementSync
  readonly #last: StatementSync
  #news: News[] = []
  /** Everything up to here is told, or is in `news`. */
  #seen = 0

  constructor(db: Database, out: Outbox, flag: Int32Array) {
    this.#out = out
    this.#flag = flag
    this.#changed = db.rows('SELECT id, name, last_seq FROM topic WHERE last_seq>? ORDER BY last_seq')
    this.#page = db.rows(
      `SELECT seq, id, at, name, key, headers, body FROM message WHERE topic=? AND seq>? AND seq<=? ORDER BY seq LIMIT ${pageMost}`,
    )
    this.#last = db.rows('SELECT coalesce(max(last_seq), 0) FROM topic')
  }

  listen(id: number, pattern: string): void {
    const [since] = this.#last.get() as unknown as [number]
    if (this.#listeners.size === 0) {
      this.#news = []
      this.#seen = since
    }
    this.#listeners.set(id, { id, pattern, matches: matcher(pattern), since })
  }

  unlisten(id: number): void {
    this.#listeners.delete(id)
  }

  /** Whether there is something to tell and room on the way. */
  get hasMore(): boolean {
    return this.#news.length > 0 && this.#listeners.size > 0 && this.#hasRoom()
  }

  tell(): void {
    while (this.#listeners.size > 0) {
      if (this.#news.length === 0) this.#look()
      if (this.#news.length === 0 || !this.#hasRoom()) return
      if (!this.#tellPage(this.#news[0]!)) this.#news.shift()
    }
  }

  #hasRoom(): boolean {
    return Atomics.load(this.#flag, 1) < liveMost
  }

  #look(): void {
    const from = this.#seen
    for (const [topic, name, last] of this.#changed.all(from) as unknown as [number, string, number][]) {
      this.#seen = Math.max(this.#seen, last)
      if (this.#listenersOf(name).length > 0) this.#news.push({ topic, name, place: from, last })
    }
  }

  #listenersOf(name: string): Listener[] {
    return [...this.#listeners.values()].filter(({ pattern }) => overlaps(pattern, name) && isPrivate(name) === isPrivate(pattern))
  }

  /** Returns whether there may be more of the topic. */
  #tellPage(news: News): boolean {
    const { topic, name, last } = news
    const listeners = this.#listenersOf(name)
    if (listeners.length === 0) return false
    const rows: MessageRow[] = []
    let bytes = 0
    // Row by row: whatever their sizes, a page in memory is no larger than it may be, or a single row.
    for (const row of this.#page.iterate(topic, news.place, last) as unknown as Iterable<MessageRow>) {
      rows.push(row)
      bytes += row[6].byteLength
      if (bytes >= pageBytes) break
    }
    if (rows.length === 0) return false
    news.place = rows.at(-1)![0]
    for (const { id, since, matches } of listeners) {
      const heard = rows.filter((row) => row[0] > since && matches(row[3] ?? name))
      if (heard.length === 0) continue
      const columns = packRows(heard, name, undefined)
      Atomics.add(this.#flag, 1, liveBytes(columns))
      this.#out.push({ op: 'live', listener: id, columns }, buffersOf(columns))
    }
    return news.place < last
  }
}
