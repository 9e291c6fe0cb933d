import type { StatementSync } from 'node:sqlite'
import { isPrivate } from '../../../topic/name.ts'
import { covers, isPattern } from '../../../topic/pattern.ts'
import type { Retention } from '../../engine.ts'
import type { Database } from './database.ts'

export interface Topic {
  readonly id: number
  readonly name: string
  lastSeq: number
  messages: number
  bytes: number
  /** The largest body there ever was: tells whether a page of rows can be read without looking at sizes first. */
  biggest: number
  readonly retention: Retention
}

const keptMost = 20_000

/**
 * The topics, and the counters of the whole store. Rows are kept between turns and changed in memory; {@link flush} writes
 * what changed at the end of a turn, {@link forget} drops everything when another process wrote or a turn was undone.
 */
export class Topics {
  readonly #byName = new Map<string, Topic>()
  readonly #byId = new Map<number, Topic>()
  readonly #changed = new Set<Topic>()
  /** The last sequence given, over all topics. */
  lastSeq = 0
  /** Of all bodies. */
  bytes = 0
  #countersRead = false
  #countersChanged = false
  readonly #findName: StatementSync
  readonly #findId: StatementSync
  readonly #insert: StatementSync
  readonly #update: StatementSync
  readonly #counter: StatementSync
  readonly #setCounter: StatementSync
  readonly #names: StatementSync
  readonly #patterns: StatementSync

  constructor(db: Database) {
    const columns = 'id, name, last_seq, messages, bytes, biggest, age_ms, most_messages, most_bytes'
    this.#findName = db.rows(`SELECT ${columns} FROM topic WHERE name=?`)
    this.#findId = db.rows(`SELECT ${columns} FROM topic WHERE id=?`)
    this.#insert = db.prepare('INSERT INTO topic(name, created_at) VALUES(?, ?)')
    this.#update = db.prepare('UPDATE topic SET last_seq=?, messages=?, bytes=?, biggest=? WHERE id=?')
    this.#counter = db.rows('SELECT value FROM store WHERE name=?')
    this.#setCounter = db.prepare('INSERT INTO store(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value=excluded.value')
    this.#patterns = db.rows("SELECT name FROM topic WHERE instr(name, '*') > 0 ORDER BY id")
    this.#names = db.rows('SELECT name FROM topic ORDER BY id')
  }

  find(name: string): Topic | undefined {
    return this.#byName.get(name) ?? this.#keep(this.#findName.get(name))
  }

  byId(id: number): Topic | undefined {
    return this.#byId.get(id) ?? this.#keep(this.#findId.get(id))
  }

  /** Only in a transaction that writes. */
  ensure(name: string, now: number): Topic {
    const found = this.find(name)
    if (found) return found
    this.#insert.run(name, now)
    return this.find(name)!
  }

  /** Where messages of the name are: in a storage of that name, else in that of a definition that holds it. */
  holding(name: string): Topic | undefined {
    const found = this.find(name)
    if (found || isPattern(name) || isPrivate(name)) return found
    const patterns = this.#patterns.all() as unknown as [string][]
    const pattern = patterns.find(([one]) => covers(one, name))
    return pattern && this.find(pattern[0])
  }

  /** The same, made where there is none. Only in a transaction that writes. */
  place(name: string, now: number): Topic {
    return this.holding(name) ?? this.ensure(name, now)
  }

  names(): string[] {
    return (this.#names.all() as unknown as [string][]).map(([name]) => name)
  }

  /** Reads the counters of the store where they may be stale; before they are used in a turn. */
  load(): void {
    if (this.#countersRead) return
    const read = (name: string): number => Number((this.#counter.get(name) as unknown as [number] | undefined)?.[0] ?? 0)
    this.lastSeq = read('seq')
    this.bytes = read('bytes')
    this.#countersRead = true
  }

  changed(topic: Topic): void {
    this.#changed.add(topic)
    this.#countersChanged = true
  }

  flush(): void {
    for (const topic of this.#changed) this.#update.run(topic.lastSeq, topic.messages, topic.bytes, topic.biggest, topic.id)
    this.#changed.clear()
    if (!this.#countersChanged) return
    this.#setCounter.run('seq', this.lastSeq)
    this.#setCounter.run('bytes', this.bytes)
    this.#countersChanged = false
  }

  forget(): void {
    this.#byName.clear()
    this.#byId.clear()
    this.#changed.clear()
    this.#countersRead = false
    this.#countersChanged = false
  }

  #keep(row: unknown): Topic | undefined {
    if (row === undefined) return undefined
    const [id, name, lastSeq, messages, bytes, biggest, ageMs, mostMessages, mostBytes] = row as [
      number,
      string,
      number,
      number,
      number,
      number,
      number | null,
      number | null,
      number | null,
    ]
    if (this.#byName.size >= keptMost && this.#changed.size === 0) {
      this.#byName.clear()
      this.#byId.clear()
    }
    const topic: Topic = {
      id,
      name,
      lastSeq,
      messages,
      bytes,
      biggest,
      retention: { ageMs: ageMs ?? undefined, messages: mostMessages ?? undefined, bytes: mostBytes ?? undefined },
    }
    this.#byName.set(name, topic)
    this.#byId.set(id, topic)
    return topic
  }
}
