import type { StatementSync } from 'node:sqlite'
import type { MessageRow } from '../columns.ts'
import type { Database } from './database.ts'
import type { Member } from './member.ts'
import type { Topic, Topics } from './topics.ts'

/** How many stored rows one claim looks at, and how many messages or bytes it takes: no turn is long. */
const scanMost = 5000
const takeMost = 1000
const pageBytes = 4 * 1024 * 1024
/** How many messages a group passes over because their key is in somebody else's hands, before it waits. */
const skipMost = 1000

export interface Claim {
  readonly fence: number
  readonly rows: MessageRow[]
  readonly redelivered: Uint8Array | undefined
  /** There is more than this claim looked at. */
  readonly more: boolean
  /** The next message is larger than the credit of bytes. */
  readonly starved: boolean
}

/**
 * Takes messages for a member: first what was given back and is due, then what is new after the group's cursor. Runs in a
 * transaction, so that no two members take the same.
 */
export class Claiming {
  readonly #topics: Topics
  readonly #cursor: StatementSync
  readonly #state: StatementSync
  readonly #setState: StatementSync
  readonly #waitingDue: StatementSync
  readonly #unwait: StatementSync
  readonly #wait: StatementSync
  readonly #waitingCount: StatementSync
  readonly #bySeq: StatementSync
  readonly #page: StatementSync
  readonly #sizes: StatementSync
  readonly #names: StatementSync
  readonly #lease: StatementSync
  readonly #leaseRange: StatementSync
  readonly #heldByOther: StatementSync
  readonly #waitsEarlier: StatementSync
  readonly #nextDue: StatementSync

  constructor(db: Database, topics: Topics) {
    this.#topics = topics
    this.#cursor = db.rows('SELECT cursor FROM grp WHERE id=?')
    this.#state = db.rows('SELECT cursor, (SELECT max(fence) FROM grp g WHERE g.lanes=grp.lanes) FROM grp WHERE id=?')
    this.#setState = db.prepare('UPDATE grp SET cursor=?, fence=? WHERE id=?')
    this.#waitingDue = db.rows('SELECT due, seq, redelivered, key FROM waiting WHERE grp=? AND due<=? ORDER BY due, seq LIMIT ?')
    this.#unwait = db.prepare('DELETE FROM waiting WHERE grp=? AND due=? AND seq=?')
    this.#wait = db.prepare('INSERT OR IGNORE INTO waiting(grp, due, seq, redelivered, lanes, key) VALUES(?, 0, ?, 0, ?, ?)')
    this.#waitingCount = db.rows('SELECT count(*) FROM waiting WHERE grp=?')
    const columns = 'seq, id, at, name, key, headers, body'
    this.#bySeq = db.rows(`SELECT ${columns} FROM message WHERE seq=?`)
    this.#page = db.rows(`SELECT ${columns} FROM message WHERE topic=? AND seq>? ORDER BY seq LIMIT ?`)
    this.#sizes = db.rows('SELECT length(body) FROM message WHERE topic=? AND seq>? ORDER BY seq LIMIT ?')
    this.#names = db.rows('SELECT seq, name, key FROM message WHERE topic=? AND seq>? ORDER BY seq LIMIT ?')
    this.#lease = db.prepare('INSERT INTO lease(grp, seq, owner, fence, until, lanes, key) VALUES(?, ?, ?, ?, ?, ?, ?)')
    this.#leaseRange = db.prepare(
      'INSERT INTO lease(grp, seq, owner, fence, until) SELECT ?, seq, ?, ?, ? FROM message WHERE topic=? AND seq>? AND seq<=?',
    )
    this.#heldByOther = db.rows('SELECT 1 FROM lease WHERE lanes=? AND key=? AND owner<>? LIMIT 1')
    this.#waitsEarlier = db.rows('SELECT 1 FROM waiting WHERE lanes=? AND key=? AND seq<? LIMIT 1')
    this.#nextDue = db.rows('SELECT due FROM waiting WHERE grp=? AND due>? ORDER BY due LIMIT 1')
  }

  /** Whether a claim could find something; looks only. */
  peek(member: Member, now: number): boolean {
    const state = this.#cursor.get(member.group.id) as unknown as [number] | undefined
    const topic = this.#topics.byId(member.topicId)
    if (!state || !topic || topic.lastSeq > state[0]) return true
    if (this.#waitingDue.get(member.group.id, now, 1) !== undefined) return true
    member.dueAt = this.#dueAfter(member, now)
    return false
  }

  /** Undefined when the group or its topic is gone. The fence grows over all sources that share lanes: a replay's is above what it replays. */
  claim(member: Member, now: number): Claim | undefined {
    const state = this.#state.get(member.group.id) as unknown as [number, number] | undefined
    const topic = this.#topics.byId(member.topicId)
    if (!state || !topic) return undefined
    // At least the time: claims are not waited for on the disk, and after a power failure the stored fence may be an older one.
    const taking = new Taking(member, Math.max(state[1] + 1, now), now + member.subscription.spec.leaseMs)
    member.blocked = false
    const free = member.laned ? this.#laneGuard(member) : undefined
    let more = this.#takeWaiting(taking, member, now, free)
    let cursor = state[0]
    if (!more && topic.lastSeq > cursor) {
      const next =
        free || member.matches ? this.#takeChosen(taking, member, topic, cursor, free) : this.#takeRun(taking, member, topic, cursor)
      cursor = next.cursor
      more = next.more
    }
    if (cursor !== state[0] || taking.rows.length > 0)
      this.#setState.run(cursor, taking.rows.length > 0 ? taking.fence : state[1], member.group.id)
    member.dueAt = this.#dueAfter(member, now)
    return { fence: taking.fence, rows: taking.rows, redelivered: taking.redelivered(), more, starved: taking.starved }
  }

  /** What was given back and is due. Returns whether credit ran out before it did. */
  #takeWaiting(taking: Taking, member: Member, now: number, free: LaneGuard | undefined): boolean {
    const most = free ? scanMost : Math.min(taking.room, takeMost)
    const waiting = this.#waitingDue.all(member.group.id, now, most) as unknown as [
      due: number,
      seq: number,
      redelivered: number,
      key: string | null,
    ][]
    if (waiting.length === 0) return false
    if (free) waiting.sort((a, b) => a[1] - b[1])
    for (const [due, seq, redelivered, key] of waiting) {
      if (taking.room === 0) return true
      if (free && key !== null && !free(key, seq)) continue
      const row = this.#bySeq.get(seq) as unknown as MessageRow | undefined
      if (row && !taking.fits(row)) return true
      this.#unwait.run(member.group.id, due, seq)
      // A purge deletes messages, not what waits for them.
      if (!row) continue
      taking.take(row, redelivered !== 0)
      this.#insertLease(taking, member, seq, key)
    }
    return !free && waiting.length === most
  }

  /** New messages of a group that takes everything: leased by one statement. */
  #takeRun(taking: Taking, member: Member, topic: Topic, from: number): { cursor: number; more: boolean } {
    let cursor = from
    let more = true
    while (taking.room > 0) {
      const most = this.#pageSize(topic, cursor, taking.room)
      const rows = this.#page.all(topic.id, cursor, most) as unknown as MessageRow[]
      let taken = 0
      while (taken < rows.length && taking.fits(rows[taken]!)) taking.take(rows[taken++]!, false)
      if (taken > 0) {
        const last = rows[taken - 1]![0]
        this.#leaseRange.run(member.group.id, member.owner, taking.fence, taking.until, topic.id, cursor, last)
        cursor = last
      }
      if (taken < rows.length) break
      if (rows.length < most || cursor >= topic.lastSeq) {
        more = false
        break
      }
    }
    return { cursor, more }
  }

  /** New messages that match the filter and whose lane is free; those whose lane is not are put aside. */
  #takeChosen(taking: Taking, member: Member, topic: Topic, from: number, free: LaneGuard | undefined): { cursor: number; more: boolean } {
    let cursor = from
    let aside = -1
    const rows = this.#names.all(topic.id, from, scanMost) as unknown as [seq: number, name: string | null, key: string | null][]
    for (const [seq, name, ownKey] of rows) {
      if (taking.room === 0) return { cursor, more: true }
      if (!member.matches || member.matches(name ?? topic.name)) {
        const key = member.laneKey(ownKey)
        if (free && key !== null && !free(key, seq)) {
          if (member.oneLane) return { cursor, more: false }
          if (aside < 0) aside = (this.#waitingCount.get(member.group.id) as unknown as [number])[0]
          if (aside >= skipMost) return { cursor, more: false }
          this.#wait.run(member.group.id, seq, member.group.lanes, key)
          aside++
        } else {
          const row = this.#bySeq.get(seq) as unknown as MessageRow
          if (!taking.fits(row)) return { cursor, more: true }
          taking.take(row, false)
          this.#insertLease(taking, member, seq, key)
        }
      }
      cursor = seq
    }
    return { cursor, more: rows.length === scanMost }
  }

  /**
   * Tells whether the lane of a key is free for the member. The answer holds for the rest of the claim: a lane that was
   * free is this member's now, one that was not stays closed for the later messages of the key.
   */
  #laneGuard(member: Member): LaneGuard {
    const known = new Map<string, boolean>()
    const { lanes } = member.group
    return (key, seq) => {
      let answer = known.get(key)
      if (answer === undefined) {
        answer = this.#heldByOther.get(lanes, key, member.owner) === undefined && this.#waitsEarlier.get(lanes, key, seq) === undefined
        known.set(key, answer)
        if (!answer) member.blocked = true
      }
      return answer
    }
  }

  #insertLease(taking: Taking, member: Member, seq: number, key: string | null): void {
    this.#lease.run(member.group.id, seq, member.owner, taking.fence, taking.until, key === null ? null : member.group.lanes, key)
  }

  /** How many rows to read at once, so that their bodies fit in memory whatever their sizes. */
  #pageSize(topic: Topic, after: number, room: number): number {
    const most = Math.min(room, takeMost)
    if (topic.biggest * most <= pageBytes) return most
    const sizes = this.#sizes.all(topic.id, after, most) as unknown as [number][]
    let sum = 0
    let i = 0
    for (; i < sizes.length; i++) {
      sum += sizes[i]![0]
      if (sum > pageBytes && i > 0) break
    }
    return Math.max(1, i < sizes.length ? i : most)
  }

  #dueAfter(member: Member, now: number): number {
    return (this.#nextDue.get(member.group.id, now) as unknown as [number] | undefined)?.[0] ?? Number.POSITIVE_INFINITY
  }
}

type LaneGuard = (key: string, seq: number) => boolean

/** What a claim has taken so far, measured against the credit. */
class Taking {
  readonly fence: number
  readonly until: number
  readonly rows: MessageRow[] = []
  starved = false
  #again: number[] = []
  #room: number
  #bytes: number
  readonly #credit: number
  readonly #alone: boolean

  constructor(member: Member, fence: number, until: number) {
    this.fence = fence
    this.until = until
    const { subscription } = member
    this.#room = Math.min(subscription.messages, takeMost)
    this.#bytes = Math.min(subscription.bytes, 2 * pageBytes)
    this.#credit = subscription.bytes
    this.#alone = subscription.out === 0
  }

  get room(): number {
    return this.#room
  }

  /** A message larger than the credit goes through when nothing else is out: else it never would. */
  fits(row: MessageRow): boolean {
    const size = row[6].byteLength
    if (size <= this.#bytes || (this.rows.length === 0 && (this.#alone || size <= this.#credit))) return true
    this.starved = true
    return false
  }

  take(row: MessageRow, redelivered: boolean): void {
    if (redelivered) this.#again.push(this.rows.length)
    this.rows.push(row)
    this.#room--
    this.#bytes -= row[6].byteLength
  }

  redelivered(): Uint8Array | undefined {
    if (this.#again.length === 0) return undefined
    const flags = new Uint8Array(this.rows.length)
    for (const i of this.#again) flags[i] = 1
    return flags
  }
}
