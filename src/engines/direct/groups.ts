import { BusError } from '../../errors.ts'
import { matcher } from '../../topic/pattern.ts'
import type { Delivery, GroupInfo, ReadFrom, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import type { Database } from './database.ts'
import { columns, type Row, type Topics } from './topics.ts'

/** One storage as one member reads it. */
export interface Reader {
  readonly grp: number
  readonly topic: number
  readonly member: number
  readonly lanes: number
  readonly fits: ((name: string) => boolean) | undefined
}

export interface Claimed {
  readonly deliveries: Delivery[]
  /** Whether the credit ended it, so that there may be more. */
  readonly more: boolean
}

const scanMost = 2000
const skippedMost = 1000

interface Waiting {
  readonly due: number
  readonly seq: number
  readonly redelivered: number
  readonly key: string | null
}

/** Groups, their leases and what waits. Every method runs inside a transaction of the caller. */
export class Groups {
  readonly #database: Database
  readonly #topics: Topics

  constructor(database: Database, topics: Topics) {
    this.#database = database
    this.#topics = topics
  }

  join(source: Source, spec: SubscriptionSpec, process: number): Reader {
    const database = this.#database
    const topic = this.#topics.ensure(source.storage)
    const filter = source.filter ?? null
    database.run('INSERT INTO lanes(name) VALUES(?) ON CONFLICT DO NOTHING', `${source.lanes}/${spec.group}`)
    const lanes = database.get<{ id: number }>('SELECT id FROM lanes WHERE name = ?', `${source.lanes}/${spec.group}`)!.id
    let group = database.get<{ id: number; filter: string | null }>(
      'SELECT id, filter FROM grp WHERE topic = ? AND name = ?',
      topic,
      spec.group,
    )
    if (!group) {
      const cursor = source.from === 'earliest' ? 0 : this.#topics.after(topic, source.from === 'new' ? 'end' : source.from)
      const { lastInsertRowid } = database.run(
        'INSERT INTO grp(topic, name, filter, lanes, cursor, created_at) VALUES(?, ?, ?, ?, ?, ?)',
        topic,
        spec.group,
        filter,
        lanes,
        cursor,
        Date.now(),
      )
      group = { id: Number(lastInsertRowid), filter }
    }
    if (group.filter !== filter)
      throw new BusError(
        'filter_conflict',
        `group '${spec.group}' of topic '${source.storage}' reads ${group.filter ?? 'everything'}, this member ${filter ?? 'everything'}: the members would acknowledge each other's messages unseen; use another group name`,
      )
    const { lastInsertRowid } = database.run('INSERT INTO member(grp, process, name) VALUES(?, ?, ?)', group.id, process, spec.member)
    return { grp: group.id, topic, member: Number(lastInsertRowid), lanes, fits: filter === null ? undefined : matcher(filter) }
  }

  leave(reader: Reader): void {
    this.#giveBack('member = ?', reader.member)
    this.#database.run('DELETE FROM member WHERE id = ?', reader.member)
  }

  /** Leases of members that are gone or silent. */
  expire(reader: Reader, now: number): void {
    this.#giveBack('grp = ? AND until <= ? AND member <> ?', reader.grp, now, reader.member)
  }

  #giveBack(where: string, ...values: number[]): void {
    this.#database.run(
      `INSERT OR REPLACE INTO waiting(grp, due, seq, redelivered, lanes, key) SELECT grp, 0, seq, 1, lanes, key FROM lease WHERE ${where}`,
      ...values,
    )
    this.#database.run(`DELETE FROM lease WHERE ${where}`, ...values)
  }

  /** Whether a claim could find anything; reads only. */
  hasWork(reader: Reader, now: number): boolean {
    return (
      this.#database.get(
        `SELECT 1 FROM grp g JOIN topic t ON t.id = g.topic WHERE g.id = ?1 AND (t.last_seq > g.cursor OR EXISTS(SELECT 1 FROM waiting WHERE grp = ?1 AND due <= ?2)
         OR EXISTS(SELECT 1 FROM lease WHERE grp = ?1 AND until <= ?2 AND member <> ?3))`,
        reader.grp,
        now,
        reader.member,
      ) !== undefined
    )
  }

  claim(reader: Reader, order: SubscriptionSpec['order'], leaseMs: number, messages: number, bytes: number, now: number): Claimed {
    const database = this.#database
    this.expire(reader, now)
    const group = database.get<{ cursor: number; fence: number }>('SELECT cursor, fence FROM grp WHERE id = ?', reader.grp)
    if (!group) return { deliveries: [], more: false }
    const fence = group.fence + 1
    const deliveries: Delivery[] = []
    // Keys in other members' hands, and keys passed over in this claim.
    const blocked = new Set<string>()
    if (order !== 'none')
      for (const { key } of database.all<{ key: string }>(
        'SELECT DISTINCT key FROM lease WHERE lanes = ? AND key IS NOT NULL AND member NOT IN (SELECT id FROM member WHERE name = (SELECT name FROM member WHERE id = ?))',
        reader.lanes,
        reader.member,
      ))
        blocked.add(key)
    const laneOf = (key: string | null): string | null => (order === 'topic' ? '' : order === 'key' ? key : null)
    const take = (row: Row, lane: string | null, redelivered: boolean): boolean => {
      if (deliveries.length >= messages || (row.body.byteLength > bytes && deliveries.length > 0)) return false
      bytes -= row.body.byteLength
      database.run(
        'INSERT OR REPLACE INTO lease(grp, seq, member, fence, until, lanes, key) VALUES(?, ?, ?, ?, ?, ?, ?)',
        reader.grp,
        row.seq,
        reader.member,
        fence,
        now + leaseMs,
        reader.lanes,
        lane,
      )
      deliveries.push(this.#topics.delivery(row, redelivered, fence))
      return true
    }
    let full = false
    for (const wait of database.all<Waiting>(
      'SELECT due, seq, redelivered, key FROM waiting WHERE grp = ? AND due <= ? ORDER BY due, seq LIMIT ?',
      reader.grp,
      now,
      order === 'none' ? messages + 1 : skippedMost + messages,
    )) {
      if (wait.key !== null && blocked.has(wait.key)) continue
      const row = database.get<Row>(`SELECT ${columns} FROM message WHERE seq = ?`, wait.seq)
      if (row && !take(row, wait.key, wait.redelivered === 1)) {
        full = true
        break
      }
      database.run('DELETE FROM waiting WHERE grp = ? AND due = ? AND seq = ?', reader.grp, wait.due, wait.seq)
    }
    let { cursor } = group
    if (!full) {
      if (order !== 'none')
        for (const { key } of database.all<{ key: string }>(
          'SELECT DISTINCT key FROM waiting WHERE lanes = ? AND key IS NOT NULL',
          reader.lanes,
        ))
          blocked.add(key)
      let skipped = order === 'none' ? 0 : database.get<{ n: number }>('SELECT count(*) AS n FROM waiting WHERE grp = ?', reader.grp)!.n
      const rows = database.all<Row>(
        `SELECT ${columns} FROM message WHERE topic = ? AND seq > ? ORDER BY seq LIMIT ?`,
        reader.topic,
        cursor,
        reader.fits || order !== 'none' ? Math.min(scanMost, messages * 4 + 100) : messages - deliveries.length + 1,
      )
      for (const row of rows) {
        const lane = laneOf(row.key)
        if (reader.fits && !reader.fits(row.name ?? this.#topics.name(row.topic))) cursor = row.seq
        else if (lane !== null && blocked.has(lane)) {
          if (skipped++ >= skippedMost) break
          database.run(
            'INSERT INTO waiting(grp, due, seq, redelivered, lanes, key) VALUES(?, 0, ?, 0, ?, ?)',
            reader.grp,
            row.seq,
            reader.lanes,
            lane,
          )
          cursor = row.seq
        } else if (take(row, lane, false)) cursor = row.seq
        else {
          full = true
          break
        }
      }
      full ||= rows.length > 0 && cursor === rows.at(-1)!.seq && deliveries.length < messages && reader.fits !== undefined
    }
    if (deliveries.length > 0 || cursor !== group.cursor)
      database.run('UPDATE grp SET cursor = ?, fence = ? WHERE id = ?', cursor, fence, reader.grp)
    return { deliveries, more: full }
  }

  settle(readers: ReadonlyMap<string, Reader>, batch: readonly Settlement[], now: number): SettleResult[] {
    const database = this.#database
    return batch.map((settlement) => {
      const { delivery } = settlement
      const reader = readers.get(delivery.storage)
      if (!reader) return 'lost'
      const seq = Number(delivery.position)
      if (settlement.kind === 'extend') {
        return Number(
          database.run(
            'UPDATE lease SET until = ? WHERE grp = ? AND seq = ? AND fence = ?',
            now + settlement.leaseMs,
            reader.grp,
            seq,
            delivery.fence,
          ).changes,
        ) > 0
          ? 'confirmed'
          : 'lost'
      }
      if (settlement.kind === 'release') {
        const lease = database.get<{ key: string | null }>(
          'SELECT key FROM lease WHERE grp = ? AND seq = ? AND fence = ?',
          reader.grp,
          seq,
          delivery.fence,
        )
        if (!lease) return 'lost'
        database.run(
          'INSERT OR REPLACE INTO waiting(grp, due, seq, redelivered, lanes, key) VALUES(?, ?, ?, 1, ?, ?)',
          reader.grp,
          settlement.delayMs > 0 ? now + settlement.delayMs : 0,
          seq,
          reader.lanes,
          lease.key,
        )
      }
      return Number(database.run('DELETE FROM lease WHERE grp = ? AND seq = ? AND fence = ?', reader.grp, seq, delivery.fence).changes) > 0
        ? 'confirmed'
        : 'lost'
    })
  }

  /** When something given back is due next, for a timer. */
  nextDue(reader: Reader): number | undefined {
    const waiting = this.#database.get<{ due: number }>(
      'SELECT due FROM waiting WHERE grp = ? AND due > 0 ORDER BY due LIMIT 1',
      reader.grp,
    )?.due
    const lease =
      this.#database.get<{ until: number | null }>(
        'SELECT min(until) AS until FROM lease WHERE grp = ? AND member <> ?',
        reader.grp,
        reader.member,
      )?.until ?? undefined
    return waiting === undefined ? lease : lease === undefined ? waiting : Math.min(waiting, lease)
  }

  list(storage: string): GroupInfo[] {
    const topic = this.#topics.find(storage)
    if (topic === undefined) return []
    const now = Date.now()
    return this.#database
      .all<{ id: number; name: string; filter: string | null; cursor: number }>(
        'SELECT id, name, filter, cursor FROM grp WHERE topic = ?',
        topic,
      )
      .map(({ id, name, filter, cursor }) => {
        const count = (sql: string): number => this.#database.get<{ n: number }>(sql, id)!.n
        const inHand = count('SELECT count(*) AS n FROM lease WHERE grp = ?')
        const waiting = count('SELECT count(*) AS n FROM waiting WHERE grp = ?')
        const oldest = this.#database.get<{ at: number | null }>(
          'SELECT min(at) AS at FROM message WHERE seq = (SELECT min(seq) FROM lease WHERE grp = ?1) OR seq = (SELECT min(seq) FROM waiting WHERE grp = ?1) OR seq = (SELECT min(seq) FROM message WHERE topic = ?2 AND seq > ?3)',
          id,
          topic,
          cursor,
        )?.at
        return {
          storage,
          group: name,
          filter: filter ?? undefined,
          lag: inHand + waiting + this.#ahead(topic, cursor, filter),
          inHand,
          waiting,
          members: count('SELECT count(*) AS n FROM member WHERE grp = ?'),
          oldestMs: oldest == null ? undefined : Math.max(0, now - oldest),
        }
      })
  }

  #ahead(topic: number, cursor: number, filter: string | null): number {
    if (filter === null)
      return this.#database.get<{ n: number }>('SELECT count(*) AS n FROM message WHERE topic = ? AND seq > ?', topic, cursor)!.n
    const fits = matcher(filter)
    let n = 0
    for (const { name } of this.#database.all<{ name: string | null }>(
      'SELECT name FROM message WHERE topic = ? AND seq > ?',
      topic,
      cursor,
    ))
      if (fits(name ?? this.#topics.name(topic))) n++
    return n
  }

  #find(storage: string, group: string): { id: number; topic: number } {
    const topic = this.#topics.find(storage)
    const found =
      topic === undefined ? undefined : this.#database.get<{ id: number }>('SELECT id FROM grp WHERE topic = ? AND name = ?', topic, group)
    if (!found) throw new BusError('not_found', `topic '${storage}' has no group '${group}'`)
    return { id: found.id, topic: topic! }
  }

  #unused(id: number, storage: string, group: string): void {
    if (this.#database.get('SELECT 1 FROM member WHERE grp = ?', id))
      throw new BusError('conflict', `group '${group}' of topic '${storage}' has members; close them first`)
  }

  reset(storage: string, group: string, to: ReadFrom): void {
    const { id, topic } = this.#find(storage, group)
    this.#unused(id, storage, group)
    this.#database.run('DELETE FROM lease WHERE grp = ?', id)
    this.#database.run('DELETE FROM waiting WHERE grp = ?', id)
    this.#database.run('UPDATE grp SET cursor = ? WHERE id = ?', this.#topics.after(topic, to), id)
  }

  remove(storage: string, group: string): void {
    const { id } = this.#find(storage, group)
    this.#unused(id, storage, group)
    for (const table of ['lease', 'waiting']) this.#database.run(`DELETE FROM ${table} WHERE grp = ?`, id)
    this.#database.run('DELETE FROM grp WHERE id = ?', id)
  }

  removeTopic(storage: string): void {
    const topic = this.#topics.find(storage)
    if (topic === undefined) throw new BusError('not_found', `there is no topic '${storage}'`)
    for (const { name } of this.#database.all<{ name: string }>('SELECT name FROM grp WHERE topic = ?', topic)) this.remove(storage, name)
    for (const table of ['message', 'recent_id', 'scheduled']) this.#database.run(`DELETE FROM ${table} WHERE topic = ?`, topic)
    this.#database.run('DELETE FROM topic WHERE id = ?', topic)
    this.#topics.forget(storage)
  }
}
