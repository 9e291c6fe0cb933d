import type { StatementSync } from 'node:sqlite'
import { BusError } from '../../../errors.ts'
import { matcher } from '../../../topic/pattern.ts'
import type { GroupInfo, ReadFrom, Retention, TopicInfo } from '../../engine.ts'
import { type Columns, type MessageRow, packRows } from '../columns.ts'
import type { Database } from './database.ts'
import type { Group, Groups } from './groups.ts'
import type { Outbox } from './outbox.ts'
import type { Presence } from './presence.ts'
import type { Retention as RetentionSweep } from './retention.ts'
import type { Topic, Topics } from './topics.ts'

const pageBytes = 8 * 1024 * 1024

/** Looks into topics and groups, and moves them: what the admin calls ask for. */
export class Desk {
  readonly #db: Database
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #presence: Presence
  readonly #out: Outbox
  readonly #retention: RetentionSweep
  readonly #page: StatementSync
  readonly #edges: StatementSync
  readonly #made: StatementSync
  /** The last topic told of; undefined while nobody watches. */
  #told: number | undefined

  constructor(db: Database, topics: Topics, groups: Groups, presence: Presence, retention: RetentionSweep, out: Outbox) {
    this.#db = db
    this.#topics = topics
    this.#groups = groups
    this.#presence = presence
    this.#out = out
    this.#retention = retention
    this.#page = db.rows('SELECT seq, id, at, name, key, headers, body FROM message WHERE topic=? AND seq>? ORDER BY seq')
    this.#made = db.rows('SELECT id, name FROM topic WHERE id>? ORDER BY id')
    this.#edges = db.rows(
      'SELECT (SELECT coalesce(stored_at, at) FROM message WHERE topic=?1 ORDER BY seq LIMIT 1), (SELECT coalesce(stored_at, at) FROM message WHERE topic=?1 ORDER BY seq DESC LIMIT 1), (SELECT count(*) FROM scheduled WHERE topic=?1)',
    )
  }

  read(storage: string, after: ReadFrom, limit: number): { columns: Columns; next: string } {
    const topic = this.#topic(storage)
    let place = this.#groups.placeOf(topic, after)
    const rows: MessageRow[] = []
    let bytes = 0
    // Row by row: read at once, a page of large bodies would not fit in memory.
    for (const row of this.#page.iterate(topic.id, place) as unknown as Iterable<MessageRow>) {
      if (rows.length >= limit) break
      const wanted = topic.name === storage || row[3] === storage // one name of a definition: the others are not asked for
      if (wanted && rows.length > 0 && bytes + row[6].byteLength > pageBytes) break
      place = row[0]
      if (!wanted) continue
      rows.push(row)
      bytes += row[6].byteLength
    }
    return { columns: packRows(rows, storage, undefined), next: String(place) }
  }

  declare(storage: string, retention: Retention | undefined, now: number): void {
    const topic = this.#topics.place(storage, now)
    if (!retention || topic.name !== storage) return
    this.#run(
      'UPDATE topic SET age_ms=?, most_messages=?, most_bytes=? WHERE id=?',
      retention.ageMs ?? null,
      retention.messages ?? null,
      retention.bytes ?? null,
      topic.id,
    )
    this.#topics.flush()
    this.#topics.forget()
  }

  topics(): TopicInfo[] {
    return this.#topics.names().map((name) => {
      const topic = this.#topics.find(name)!
      const [firstAt, lastAt, scheduled] = this.#edges.get(topic.id) as unknown as [number | null, number | null, number]
      return {
        storage: name,
        messages: topic.messages,
        bytes: topic.bytes,
        firstAt: firstAt ?? undefined,
        lastAt: lastAt ?? undefined,
        scheduled,
      }
    })
  }

  watchTopics(on: boolean): string[] {
    this.#told = on ? 0 : undefined
    return this.#untold()
  }

  /** Tells of topics that are new since the last call, made here or elsewhere. */
  tell(): void {
    const storages = this.#untold()
    if (storages.length > 0) this.#out.push({ op: 'topic', storages })
  }

  #untold(): string[] {
    if (this.#told === undefined) return []
    const rows = this.#made.all(this.#told) as unknown as [number, string][]
    if (rows.length > 0) this.#told = rows.at(-1)![0]
    return rows.map(([, name]) => name)
  }

  groups(storage: string, now: number): GroupInfo[] {
    const topic = this.#topics.find(storage)
    if (!topic) return []
    const rows = this.#db.rows('SELECT id, name, filter, cursor FROM grp WHERE topic=? ORDER BY name').all(topic.id) as unknown as [
      number,
      string,
      string | null,
      number,
    ][]
    const counts = this.#aheadOf(
      topic,
      rows.filter(([, , filter]) => filter === null).map(([, , , cursor]) => cursor),
    )
    return rows.map(([id, group, filter, cursor]) => {
      const [inHand, waiting, oldest] = this.#row(
        'SELECT (SELECT count(*) FROM lease WHERE grp=?1), (SELECT count(*) FROM waiting WHERE grp=?1), min(coalesce((SELECT min(seq) FROM lease WHERE grp=?1), 9e15), coalesce((SELECT min(seq) FROM waiting WHERE grp=?1), 9e15))',
        id,
      ) as [number, number, number]
      const ahead =
        filter === null ? { count: counts.get(cursor)!, first: this.#firstAfter(topic, cursor) } : this.#matching(topic, cursor, filter)
      const first = ahead.first === undefined ? oldest : Math.min(oldest, ahead.first)
      const at =
        first < 9e15
          ? (this.#row('SELECT coalesce(stored_at, at) FROM message WHERE seq=?', first) as [number] | undefined)?.[0]
          : undefined
      return {
        storage,
        group,
        filter: filter ?? undefined,
        lag: inHand + waiting + ahead.count,
        inHand,
        waiting,
        members: this.#presence.liveMembers(id, now),
        oldestMs: at === undefined ? undefined : Math.max(0, now - at),
      }
    })
  }

  reset(storage: string, group: string, to: ReadFrom, now: number): void {
    const topic = this.#topic(storage)
    const found = this.#group(topic, storage, group)
    this.#mustBeIdle(found.id, storage, group, 'move the group', now)
    this.#run('DELETE FROM lease WHERE grp=?', found.id)
    this.#run('DELETE FROM waiting WHERE grp=?', found.id)
    this.#run('UPDATE grp SET cursor=? WHERE id=?', this.#groups.placeOf(topic, to), found.id)
  }

  deleteGroup(storage: string, group: string, now: number): void {
    const found = this.#group(this.#topic(storage), storage, group)
    // They would make it anew, and begin again.
    this.#mustBeIdle(found.id, storage, group, 'delete the group', now)
    for (const table of ['lease', 'waiting', 'member']) this.#run(`DELETE FROM ${table} WHERE grp=?`, found.id)
    this.#run('DELETE FROM grp WHERE id=?', found.id)
  }

  /** A chunk of a purge; the place where it ends is fixed by the first one, whatever is published meanwhile. */
  purge(storage: string, before: string | undefined, upTo: number | undefined, now: number): { deleted: number; upTo: number } {
    const topic = this.#topic(storage)
    if (topic.name !== storage)
      throw new BusError(
        'unsupported',
        `'${storage}' is stored in '${topic.name}' with other names; ask for '${topic.name}' if all of them are to go`,
      )
    const end = upTo ?? (before === undefined ? topic.lastSeq : this.#groups.placeOf(topic, before) - 1)
    if (upTo === undefined) this.#run('DELETE FROM waiting WHERE seq<=? AND grp IN (SELECT id FROM grp WHERE topic=?)', end, topic.id)
    return { deleted: this.#retention.cut(topic, end, now), upTo: end }
  }

  /** @throws BusError `conflict` while a group of the topic has members */
  checkIdle(storage: string, now: number): void {
    const topic = this.#topics.find(storage)
    if (!topic) return
    const groups = this.#db.rows('SELECT id, name FROM grp WHERE topic=? ORDER BY name').all(topic.id) as unknown as [number, string][]
    for (const [id, group] of groups) this.#mustBeIdle(id, storage, group, 'delete the topic', now)
  }

  #mustBeIdle(id: number, storage: string, group: string, then: string, now: number): void {
    const members = this.#presence.liveMembers(id, now)
    if (members === 0) return
    const they = members === 1 ? 'it' : 'them'
    throw new BusError(
      'conflict',
      `group '${group}' of topic '${storage}' has ${members} member${members === 1 ? '' : 's'}; close ${they} first, then ${then}`,
    )
  }

  deleteTopic(storage: string, now: number): void {
    const topic = this.#topics.find(storage)
    if (!topic) throw notFound(storage)
    this.checkIdle(storage, now)
    this.#topics.load()
    for (const table of ['lease', 'waiting', 'member'])
      this.#run(`DELETE FROM ${table} WHERE grp IN (SELECT id FROM grp WHERE topic=?)`, topic.id)
    for (const table of ['grp', 'message', 'scheduled', 'recent_id']) this.#run(`DELETE FROM ${table} WHERE topic=?`, topic.id)
    this.#run('DELETE FROM topic WHERE id=?', topic.id)
    this.#topics.bytes -= topic.bytes
    this.#topics.changed({ ...topic, bytes: 0 })
    this.#topics.flush()
    this.#topics.forget()
  }

  /** How many messages lie ahead of each cursor: each is counted once, however many groups there are. */
  #aheadOf(topic: Topic, cursors: readonly number[]): Map<number, number> {
    const counts = new Map<number, number>()
    const sorted = [...new Set(cursors)].sort((a, b) => b - a)
    let to = topic.lastSeq
    let count = 0
    for (const cursor of sorted) {
      if (cursor < to)
        count += (this.#row('SELECT count(*) FROM message WHERE topic=? AND seq>? AND seq<=?', topic.id, cursor, to) as [number])[0]
      to = Math.min(to, cursor)
      counts.set(cursor, count)
    }
    return counts
  }

  #firstAfter(topic: Topic, cursor: number): number | undefined {
    if (topic.lastSeq <= cursor) return undefined
    return (
      this.#row('SELECT seq FROM message WHERE topic=? AND seq>? ORDER BY seq LIMIT 1', topic.id, cursor) as [number] | undefined
    )?.[0]
  }

  /** What lies ahead of a cursor and matches a filter. */
  #matching(topic: Topic, cursor: number, filter: string): { count: number; first: number | undefined } {
    const matches = matcher(filter)
    let count = 0
    let first: number | undefined
    for (const row of this.#db.rows('SELECT seq, name FROM message WHERE topic=? AND seq>? ORDER BY seq').iterate(topic.id, cursor)) {
      const [seq, name] = row as unknown as [number, string | null]
      if (!matches(name ?? topic.name)) continue
      count++
      first ??= seq
    }
    return { count, first }
  }

  /** A group of the topic; asked for by one name of a definition, only one that takes this name alone. */
  #group(topic: Topic, storage: string, name: string): Group {
    const found = this.#groups.find(topic.id, name)
    if (!found || (topic.name !== storage && found.filter !== storage))
      throw new BusError('not_found', `topic '${storage}' has no group '${name}'`)
    return found
  }

  #topic(storage: string): Topic {
    const topic = this.#topics.holding(storage)
    if (!topic) throw notFound(storage)
    return topic
  }

  #run(sql: string, ...values: (string | number | null)[]): number {
    return Number(this.#db.prepare(sql).run(...values).changes)
  }

  #row(sql: string, ...values: (string | number | null)[]): unknown[] | undefined {
    return this.#db.rows(sql).get(...values) as unknown as unknown[] | undefined
  }
}

function notFound(storage: string): BusError {
  return new BusError('not_found', `there is no topic '${storage}'; publish to it or subscribe first, or look at the list of topics`)
}
