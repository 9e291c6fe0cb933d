import type { StatementSync } from 'node:sqlite'
import type { BusErrorCode } from '../../../errors.ts'
import { bodyAt, type Columns } from '../columns.ts'
import { blob } from './blob.ts'
import type { Database } from './database.ts'
import type { Retention } from './retention.ts'
import type { Topic, Topics } from './topics.ts'

/** Beyond this the time a message was stored is kept beside the publisher's. */
const sameTimeMs = 1000

export interface PublishResult {
  readonly positions: Float64Array
  readonly duplicates: number[]
  readonly errors: { index: number; code: BusErrorCode; message: string }[]
}

/** Stores messages, each id once a topic; those with a time to come wait in `scheduled`. */
export class Publishing {
  readonly #topics: Topics
  readonly #maxBytes: number
  readonly #retention: Retention
  readonly #insert: StatementSync
  readonly #sequenceOf: StatementSync
  readonly #anyRecent: StatementSync
  readonly #recent: StatementSync
  readonly #anyScheduled: StatementSync
  readonly #isScheduled: StatementSync
  readonly #schedule: StatementSync
  readonly #due: StatementSync
  readonly #unschedule: StatementSync
  readonly #nextDue: StatementSync
  /** Topics that got messages in this turn. */
  readonly touched = new Set<number>()
  /** When the next scheduled message is due; Infinity for none. */
  nextDue = 0

  constructor(db: Database, topics: Topics, maxBytes: number, retention: Retention) {
    this.#topics = topics
    this.#maxBytes = maxBytes
    this.#retention = retention
    this.#insert = db.prepare(
      'INSERT INTO message(seq, topic, id, at, stored_at, name, key, headers, body) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(topic, id) DO NOTHING',
    )
    this.#sequenceOf = db.rows('SELECT seq FROM message WHERE topic=? AND id=?')
    this.#anyRecent = db.rows('SELECT 1 FROM recent_id LIMIT 1')
    this.#recent = db.rows('SELECT seq FROM recent_id WHERE topic=? AND id=?')
    this.#anyScheduled = db.rows('SELECT 1 FROM scheduled LIMIT 1')
    this.#isScheduled = db.rows('SELECT 0 FROM scheduled WHERE topic=? AND id=?')
    this.#schedule = db.prepare('INSERT INTO scheduled(due, topic, id, at, name, key, headers, body) VALUES(?, ?, ?, ?, ?, ?, ?, ?)')
    this.#due = db.rows('SELECT n, topic, id, at, name, key, headers, body FROM scheduled WHERE due<=? ORDER BY due, n LIMIT ?')
    this.#unschedule = db.prepare('DELETE FROM scheduled WHERE n=?')
    this.#nextDue = db.rows('SELECT min(due) FROM scheduled')
  }

  store(columns: Columns, now: number): PublishResult {
    const { count, storages, ids, names, keys, headers, at, due } = columns
    const topics = this.#topics
    topics.load()
    const positions = new Float64Array(count)
    const duplicates: number[] = []
    const errors: PublishResult['errors'] = []
    const looksBack = this.#anyRecent.get() !== undefined
    let looksAhead = this.#anyScheduled.get() !== undefined
    let asked: string | undefined
    let topic!: Topic
    let full: string | undefined
    for (let i = 0; i < count; i++) {
      const storage = typeof storages === 'string' ? storages : storages[i]!
      if (asked !== storage) {
        asked = storage
        topic = topics.place(storage, now)
      }
      const id = ids[i]!
      const first =
        (looksBack ? this.#recent.get(topic.id, id) : undefined) ?? (looksAhead ? this.#isScheduled.get(topic.id, id) : undefined)
      if (first !== undefined) {
        duplicates.push(i)
        positions[i] = (first as unknown as [number])[0]
        continue
      }
      const body = blob(bodyAt(columns, i))
      const size = body.byteLength
      if (
        topics.bytes + size > this.#maxBytes &&
        (full !== undefined || !this.#retention.makeRoom(topics.bytes + size - this.#maxBytes, now))
      ) {
        full ??= this.#retention.whyFull(this.#maxBytes)
        errors.push({ index: i, code: 'store_full', message: full })
        continue
      }
      const name = names?.[i] ?? (topic.name === storage ? null : storage)
      const key = keys?.[i] ?? null
      if (due !== undefined && due[i]! > now) {
        const stored = this.#sequenceOf.get(topic.id, id) as unknown as [number] | undefined
        if (stored) {
          duplicates.push(i)
          positions[i] = stored[0]
          continue
        }
        this.#schedule.run(due[i]!, topic.id, id, at[i]!, name, key, headers?.[i] ?? null, body)
        this.#count(topic, 0, 0)
        if (due[i]! < this.nextDue) this.nextDue = due[i]!
        looksAhead = true
        continue
      }
      const sequence = this.#add(topic, id, at[i]!, name, key, headers?.[i] ?? null, body, now)
      if (sequence === undefined) {
        duplicates.push(i)
        positions[i] = (this.#sequenceOf.get(topic.id, id) as unknown as [number])[0]
      } else positions[i] = sequence
    }
    return { positions, duplicates, errors }
  }

  /** Moves what is due into its topic, `most` at once. Returns how many. */
  moveDue(now: number, most: number): number {
    const rows = this.#due.all(now, most) as unknown as [
      number,
      number,
      string,
      number,
      string | null,
      string | null,
      string | null,
      Uint8Array,
    ][]
    if (rows.length > 0) this.#topics.load()
    for (const [n, topicId, id, at, name, key, headers, body] of rows) {
      this.#unschedule.run(n)
      const topic = this.#topics.byId(topicId)
      if (topic) this.#add(topic, id, at, name, key, headers, body, now)
    }
    this.readNextDue()
    return rows.length
  }

  readNextDue(): void {
    this.nextDue = (this.#nextDue.get() as unknown as [number | null])[0] ?? Number.POSITIVE_INFINITY
  }

  /** Undefined when the topic has the id already. */
  #add(
    topic: Topic,
    id: string,
    at: number,
    name: string | null,
    key: string | null,
    headers: string | null,
    body: Uint8Array,
    now: number,
  ): number | undefined {
    const sequence = this.#topics.lastSeq + 1
    const storedAt = Math.abs(now - at) > sameTimeMs ? now : null
    if (this.#insert.run(sequence, topic.id, id, at, storedAt, name, key, headers, body).changes === 0) return undefined
    this.#topics.lastSeq = sequence
    topic.lastSeq = sequence
    this.#count(topic, 1, body.byteLength)
    if (body.byteLength > topic.biggest) topic.biggest = body.byteLength
    this.touched.add(topic.id)
    return sequence
  }

  #count(topic: Topic, messages: number, bytes: number): void {
    topic.messages += messages
    topic.bytes += bytes
    this.#topics.bytes += bytes
    this.#topics.changed(topic)
  }
}
