import type { StatementSync } from 'node:sqlite'
import type { Database } from './database.ts'
import type { Topic, Topics } from './topics.ts'

const chunk = 1000
const topicsMost = 500

/**
 * Deletes what has been settled by every group and is old enough, a chunk at a time so that no turn is long. Never above
 * the slowest group of a topic.
 */
export class Retention {
  readonly #topics: Topics
  readonly #historyMs: number
  readonly #dedupeWindowMs: number
  readonly #floor: StatementSync
  readonly #oldest: StatementSync
  readonly #delete: StatementSync
  readonly #remember: StatementSync
  readonly #forgetIds: StatementSync
  readonly #slowest: StatementSync
  readonly #next: StatementSync
  readonly #settled: StatementSync
  #place = 0

  constructor(db: Database, topics: Topics, historyMs: number, dedupeWindowMs: number) {
    this.#topics = topics
    this.#historyMs = historyMs
    this.#dedupeWindowMs = dedupeWindowMs
    // Everything up to here was settled by the group.
    const settled =
      'min(min(cursor, coalesce((SELECT min(seq) FROM lease WHERE grp=g.id)-1, 9e15), coalesce((SELECT min(seq) FROM waiting WHERE grp=g.id)-1, 9e15)))'
    this.#floor = db.rows(`SELECT ${settled} FROM grp g WHERE topic=?`)
    this.#settled = db.rows(`SELECT topic, ${settled} FROM grp g GROUP BY topic`)
    this.#next = db.rows('SELECT id FROM topic WHERE id>? ORDER BY id LIMIT ?')
    this.#oldest = db.rows('SELECT seq, coalesce(stored_at, at), length(body) FROM message WHERE topic=? AND seq<=? ORDER BY seq LIMIT ?')
    this.#delete = db.prepare('DELETE FROM message WHERE topic=? AND seq<=?')
    this.#remember = db.prepare(
      'INSERT OR IGNORE INTO recent_id(topic, id, seq, at) SELECT topic, id, seq, coalesce(stored_at, at) FROM message WHERE topic=? AND seq<=? AND coalesce(stored_at, at)>?',
    )
    this.#forgetIds = db.prepare(
      `DELETE FROM recent_id WHERE (topic, id) IN (SELECT topic, id FROM recent_id WHERE at<=? ORDER BY at LIMIT ${chunk})`,
    )
    // Counted for the slowest group of each topic alone: a bare column beside min() is that row's.
    this.#slowest = db.rows(
      'SELECT t.name, g.name, (SELECT count(*) FROM message m WHERE m.topic=t.id AND m.seq>g.cursor) FROM (SELECT topic, name, min(cursor) AS cursor FROM grp GROUP BY topic) g JOIN topic t ON t.id=g.topic ORDER BY 3 DESC LIMIT 1',
    )
  }

  /** A slice of the topics, and of the ids that are remembered. Returns whether there is more to delete. */
  sweep(now: number): boolean {
    const more = Number(this.#forgetIds.run(now - this.#dedupeWindowMs).changes) === chunk
    const ids = this.#next.all(this.#place, topicsMost) as unknown as [number][]
    for (const [id] of ids) {
      const topic = this.#topics.byId(id)
      // The same topic again next time: it has more.
      if (topic && this.#sweepTopic(topic, now)) return true
      this.#place = id
    }
    // The rest comes with the next sweep: with thousands of topics a whole round at once would keep an idle process busy.
    if (ids.length < topicsMost) this.#place = 0
    return more
  }

  /** At the byte cap, history yields: deletes what every group has settled, however new. Returns whether that was enough. */
  makeRoom(bytes: number, now: number): boolean {
    const enough = this.#topics.bytes - bytes
    for (const [id, floor] of this.#settled.all() as unknown as [number, number][]) {
      const topic = this.#topics.byId(id)
      while (topic && this.cut(topic, floor, now) > 0) if (this.#topics.bytes <= enough) return true
    }
    return false
  }

  /** Deletes up to and with the sequence, a chunk. Returns how many. */
  cut(topic: Topic, upTo: number, now: number): number {
    const rows = this.#oldest.all(topic.id, upTo, chunk) as unknown as [number, number, number][]
    if (rows.length === 0) return 0
    this.#remove(topic, rows, now)
    return rows.length
  }

  /** For the refusal of a publish: who keeps the store full. */
  whyFull(maxBytes: number): string {
    const row = this.#slowest.get() as unknown as [string, string, number] | undefined
    const who =
      row && row[2] > 0
        ? `the slowest group is '${row[1]}' of topic '${row[0]}', ${row[2]} messages behind; let it catch up or delete it`
        : 'no group is behind; purge a topic'
    return `the store holds ${maxBytes} bytes, which is its cap: ${who}, or raise maxBytes`
  }

  #sweepTopic(topic: Topic, now: number): boolean {
    if (topic.messages === 0) return false
    const floor = (this.#floor.get(topic.id) as unknown as [number | null])[0] ?? topic.lastSeq
    const { ageMs, messages, bytes } = topic.retention
    const before = now - (ageMs ?? this.#historyMs)
    const [first] = this.#oldest.all(topic.id, floor, 1) as unknown as [number, number, number][]
    if (
      !first ||
      (first[1] >= before && topic.messages <= (messages ?? Number.POSITIVE_INFINITY) && topic.bytes <= (bytes ?? Number.POSITIVE_INFINITY))
    )
      return false
    const rows = this.#oldest.all(topic.id, floor, chunk) as unknown as [number, number, number][]
    let overMessages = messages === undefined ? 0 : topic.messages - messages
    let overBytes = bytes === undefined ? 0 : topic.bytes - bytes
    let count = 0
    for (const [, at, size] of rows) {
      if (at >= before && overMessages <= 0 && overBytes <= 0) break
      overMessages--
      overBytes -= size
      count++
    }
    if (count === 0) return false
    this.#remove(topic, rows.slice(0, count), now)
    return count === chunk
  }

  #remove(topic: Topic, rows: readonly (readonly [number, number, number])[], now: number): void {
    const last = rows.at(-1)![0]
    this.#topics.load()
    this.#remember.run(topic.id, last, now - this.#dedupeWindowMs)
    this.#delete.run(topic.id, last)
    let bytes = 0
    for (const row of rows) bytes += row[2]
    topic.messages -= rows.length
    topic.bytes -= bytes
    this.#topics.bytes -= bytes
    this.#topics.changed(topic)
  }
}
