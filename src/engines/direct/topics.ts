import { BusError } from '../../errors.ts'
import { isPattern, matcher } from '../../topic/pattern.ts'
import type { Delivery, Outgoing, Page, Position, PublishOutcome, ReadFrom, Retention, Stored, TopicInfo } from '../engine.ts'
import type { Database } from './database.ts'

export interface Row {
  readonly seq: number
  readonly topic: number
  readonly id: string
  readonly at: number
  readonly name: string | null
  readonly key: string | null
  readonly headers: string | null
  readonly body: Uint8Array
}

export const columns = 'seq, topic, id, at, name, key, headers, body'

/** Storages and the messages in them. Every method runs inside a transaction of the caller. */
export class Topics {
  readonly #database: Database
  readonly #dedupeWindowMs: number
  readonly #maxBytes: number
  readonly #ids = new Map<string, number>()
  readonly #names = new Map<number, string>()
  #patterns: { name: string; fits: (name: string) => boolean }[] = []
  #version = -1

  constructor(database: Database, dedupeWindowMs: number, maxBytes: number) {
    this.#database = database
    this.#dedupeWindowMs = dedupeWindowMs
    this.#maxBytes = maxBytes
  }

  /** Other processes may have made or deleted topics. */
  refresh(): void {
    const version = this.#database.version
    if (version === this.#version) return
    this.#version = version
    this.#ids.clear()
    this.#names.clear()
    for (const { id, name } of this.#database.all<{ id: number; name: string }>('SELECT id, name FROM topic')) this.#know(id, name)
  }

  #know(id: number, name: string): void {
    this.#ids.set(name, id)
    this.#names.set(id, name)
    this.#patterns = [...this.#ids.keys()].filter(isPattern).map((pattern) => ({ name: pattern, fits: matcher(pattern) }))
  }

  find(storage: string): number | undefined {
    const known = this.#ids.get(storage)
    if (known !== undefined) return known
    const row = this.#database.get<{ id: number }>('SELECT id FROM topic WHERE name = ?', storage)
    if (row) this.#know(row.id, storage)
    return row?.id
  }

  name(id: number): string {
    return this.#names.get(id) ?? this.#database.get<{ name: string }>('SELECT name FROM topic WHERE id = ?', id)!.name
  }

  ensure(storage: string, retention?: Retention): number {
    let id = this.find(storage)
    if (id === undefined) {
      id = Number(this.#database.run('INSERT INTO topic(name, created_at) VALUES(?, ?)', storage, Date.now()).lastInsertRowid)
      this.#know(id, storage)
    }
    if (retention)
      this.#database.run(
        'UPDATE topic SET age_ms = ?, most_messages = ?, most_bytes = ? WHERE id = ?',
        retention.ageMs ?? null,
        retention.messages ?? null,
        retention.bytes ?? null,
        id,
      )
    return id
  }

  /** An undeclared name goes to the definition that has it, where one is stored; else it is its own storage. */
  #place(message: Outgoing): number {
    const known = this.find(message.storage)
    if (known !== undefined) return known
    const pattern = message.storage === message.name ? this.#patterns.find(({ fits }) => fits(message.name)) : undefined
    return this.ensure(pattern?.name ?? message.storage)
  }

  publish(batch: readonly Outgoing[]): PublishOutcome[] {
    const now = Date.now()
    let room =
      this.#maxBytes === Number.POSITIVE_INFINITY
        ? this.#maxBytes
        : this.#maxBytes - this.#database.get<{ n: number }>('SELECT coalesce(sum(bytes), 0) AS n FROM topic')!.n
    return batch.map((message) => {
      room -= message.body.byteLength
      if (room < 0)
        return {
          ok: false,
          error: new BusError(
            'store_full',
            `the store holds its ${this.#maxBytes} bytes: let the slowest group catch up, or raise embedded.maxBytes`,
          ),
        }
      return this.#insert(message, now)
    })
  }

  #insert(message: Outgoing, now: number): PublishOutcome {
    const database = this.#database
    const topic = this.#place(message)
    const storage = this.name(topic)
    const name = message.name === storage ? null : message.name
    const headers = message.headers ? JSON.stringify(message.headers) : null
    const key = message.key ?? null
    const known = database.get<{ seq: number }>(
      'SELECT seq FROM recent_id WHERE topic = ? AND id = ? AND at > ?',
      topic,
      message.id,
      now - this.#dedupeWindowMs,
    )
    if (known) return { ok: true, position: String(known.seq), duplicate: true }
    if (message.deliverAt !== undefined && message.deliverAt > now) {
      const { changes } = database.run(
        'INSERT INTO scheduled(due, topic, id, at, name, key, headers, body) VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
        message.deliverAt,
        topic,
        message.id,
        message.at,
        name,
        key,
        headers,
        message.body,
      )
      return { ok: true, position: undefined, duplicate: Number(changes) === 0 }
    }
    const { changes, lastInsertRowid } = database.run(
      'INSERT INTO message(topic, id, at, name, key, headers, body) VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      topic,
      message.id,
      message.at,
      name,
      key,
      headers,
      message.body,
    )
    if (Number(changes) === 0)
      return {
        ok: true,
        position: String(database.get<{ seq: number }>('SELECT seq FROM message WHERE topic = ? AND id = ?', topic, message.id)!.seq),
        duplicate: true,
      }
    database.run(
      'UPDATE topic SET last_seq = ?, messages = messages + 1, bytes = bytes + ? WHERE id = ?',
      Number(lastInsertRowid),
      message.body.byteLength,
      topic,
    )
    return { ok: true, position: String(lastInsertRowid), duplicate: false }
  }

  /** Moves what is due from the schedule into its topic; returns when to look again, if there is more. */
  due(now: number): number | undefined {
    for (const row of this.#database.all<Row & { n: number }>(
      'SELECT n, due, topic, id, at, name, key, headers, body FROM scheduled WHERE due <= ? ORDER BY due LIMIT 500',
      now,
    )) {
      const storage = this.name(row.topic)
      this.#insert(
        {
          storage,
          name: row.name ?? storage,
          id: row.id,
          key: row.key ?? undefined,
          headers: row.headers ? JSON.parse(row.headers) : undefined,
          body: row.body,
          at: row.at,
          deliverAt: undefined,
        },
        now,
      )
      this.#database.run('DELETE FROM scheduled WHERE n = ?', row.n)
    }
    return this.nextDue()
  }

  nextDue(): number | undefined {
    return this.#database.get<{ due: number }>('SELECT due FROM scheduled ORDER BY due LIMIT 1')?.due
  }

  stored(row: Row): Stored {
    const storage = this.name(row.topic)
    return {
      storage,
      name: row.name ?? storage,
      id: row.id,
      key: row.key ?? undefined,
      headers: row.headers ? JSON.parse(row.headers) : undefined,
      body: row.body,
      at: row.at,
      position: String(row.seq),
    }
  }

  delivery(row: Row, redelivered: boolean, fence: number): Delivery {
    return { ...this.stored(row), redelivered, fence, scope: undefined }
  }

  /** The sequence after which reading begins. */
  after(topic: number, from: ReadFrom): number {
    if (from === 'start') return 0
    if (from === 'end') return this.#database.get<{ seq: number }>('SELECT last_seq AS seq FROM topic WHERE id = ?', topic)?.seq ?? 0
    if (typeof from === 'object')
      return (
        (this.#database.get<{ seq: number }>('SELECT min(seq) AS seq FROM message WHERE topic = ? AND at >= ?', topic, from.timeMs)?.seq ??
          this.after(topic, 'end') + 1) - 1
      )
    const seq = Number(from)
    if (!Number.isSafeInteger(seq) || seq < 0)
      throw new BusError('invalid_argument', `'${from}' is no position; give what browsing or a receipt gave`)
    return seq
  }

  read(storage: string, from: ReadFrom, limit: number): Page {
    const topic = this.find(storage)
    if (topic === undefined) throw new BusError('not_found', `there is no topic '${storage}'`)
    const after = this.after(topic, from)
    const rows = this.#database.all<Row>(
      `SELECT ${columns} FROM message WHERE topic = ? AND seq > ? ORDER BY seq LIMIT ?`,
      topic,
      after,
      limit,
    )
    return { messages: rows.map((row) => this.stored(row)), next: String(rows.at(-1)?.seq ?? after) as Position }
  }

  list(): TopicInfo[] {
    return this.#database
      .all<{ name: string; messages: number; bytes: number; firstAt: number | null; lastAt: number | null; scheduled: number }>(
        `SELECT name, messages, bytes, (SELECT at FROM message WHERE topic = t.id ORDER BY seq LIMIT 1) AS firstAt, (SELECT at FROM message WHERE seq = t.last_seq) AS lastAt,
         (SELECT count(*) FROM scheduled WHERE topic = t.id) AS scheduled FROM topic t`,
      )
      .map(({ name, messages, bytes, firstAt, lastAt, scheduled }) => ({
        storage: name,
        messages,
        bytes,
        firstAt: firstAt ?? undefined,
        lastAt: lastAt ?? undefined,
        scheduled,
      }))
  }

  /** Deletes messages up to and with the sequence, at most so many; their ids are remembered for the dedupe window. */
  remove(topic: number, upTo: number, limit: number): number {
    const database = this.#database
    const rows = database.all<{ seq: number; size: number }>(
      'SELECT seq, length(body) AS size FROM message WHERE topic = ? AND seq <= ? ORDER BY seq LIMIT ?',
      topic,
      upTo,
      limit,
    )
    if (rows.length === 0) return 0
    const last = rows.at(-1)!.seq
    database.run(
      'INSERT OR REPLACE INTO recent_id(topic, id, seq, at) SELECT topic, id, seq, at FROM message WHERE topic = ? AND seq <= ? AND at > ?',
      topic,
      last,
      Date.now() - this.#dedupeWindowMs,
    )
    database.run('DELETE FROM message WHERE topic = ? AND seq <= ?', topic, last)
    database.run(
      'UPDATE topic SET messages = messages - ?, bytes = bytes - ? WHERE id = ?',
      rows.length,
      rows.reduce((sum, { size }) => sum + size, 0),
      topic,
    )
    return rows.length
  }

  forget(storage: string): void {
    const id = this.#ids.get(storage)
    this.#ids.delete(storage)
    if (id !== undefined) this.#names.delete(id)
    this.#patterns = this.#patterns.filter(({ name }) => name !== storage)
  }
}
