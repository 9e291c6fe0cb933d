import type { StatementSync } from 'node:sqlite'
import { settleFields, settleKind } from '../protocol.ts'
import type { Database } from './database.ts'
import type { Claimed, Member } from './member.ts'

/** Shorter runs are deleted one by one: counting them first would cost more. */
const runLeast = 4

/** Ends, returns and extends leases; each only while it is still the member's own, which the fence tells. */
export class Settling {
  readonly #countRun: StatementSync
  readonly #deleteRun: StatementSync
  readonly #delete: StatementSync
  readonly #extend: StatementSync
  readonly #read: StatementSync
  readonly #wait: StatementSync
  readonly #expired: StatementSync
  readonly #nextExpiry: StatementSync
  readonly #ofMember: StatementSync
  readonly #forgetMember: StatementSync

  constructor(db: Database) {
    this.#countRun = db.rows('SELECT count(*) FROM lease WHERE grp=? AND seq>=? AND seq<=? AND fence=?')
    this.#deleteRun = db.prepare('DELETE FROM lease WHERE grp=? AND seq>=? AND seq<=? AND fence=?')
    this.#delete = db.prepare('DELETE FROM lease WHERE grp=? AND seq=? AND fence=?')
    this.#extend = db.prepare('UPDATE lease SET until=? WHERE grp=? AND seq=? AND fence=?')
    this.#read = db.rows('SELECT lanes, key FROM lease WHERE grp=? AND seq=? AND fence=?')
    this.#wait = db.prepare('INSERT OR IGNORE INTO waiting(grp, due, seq, redelivered, lanes, key) VALUES(?, ?, ?, 1, ?, ?)')
    this.#expired = db.rows('SELECT seq, fence, owner, lanes, key FROM lease WHERE grp=? AND owner<>? AND until<=?')
    this.#nextExpiry = db.rows('SELECT min(until) FROM lease WHERE grp=? AND owner<>?')
    this.#ofMember = db.rows('SELECT seq, fence, lanes, key FROM lease WHERE grp=? AND owner=?')
    this.#forgetMember = db.prepare('DELETE FROM member WHERE owner=?')
  }

  /** Settles rows of {@link settleFields} numbers. Returns the indexes of those that came too late. */
  settle(members: readonly Member[], rows: Float64Array, now: number): number[] {
    const lost: number[] = []
    const count = rows.length / settleFields
    for (let i = 0; i < count; ) {
      const at = i * settleFields
      const member = members[rows[at]!]!
      const kind = rows[at + 1]!
      const sequence = rows[at + 2]!
      const fence = rows[at + 3]!
      if (kind === settleKind.ack) {
        const run = runLength(member.hand.get(fence), rows, i, count)
        if (run >= runLeast && this.#ackRun(member, sequence, rows[(i + run - 1) * settleFields + 2]!, fence, run)) {
          i += run
          continue
        }
        if (this.#delete.run(member.group.id, sequence, fence).changes === 0) lost.push(i)
      } else if (kind === settleKind.extend) {
        if (this.#extend.run(now + rows[at + 4]!, member.group.id, sequence, fence).changes === 0) lost.push(i)
      } else if (!this.#release(member.group.id, sequence, fence, rows[at + 4]! > 0 ? now + rows[at + 4]! : 0)) lost.push(i)
      i++
    }
    return lost
  }

  /** Takes the leases of other members that ran out, so that they can be claimed. Returns what was taken from whom. */
  expire(member: Member, now: number): { seq: number; fence: number; owner: number }[] {
    const rows = this.#expired.all(member.group.id, member.owner, now) as unknown as [
      number,
      number,
      number,
      number | null,
      string | null,
    ][]
    for (const [seq, fence, , lanes, key] of rows) {
      this.#delete.run(member.group.id, seq, fence)
      this.#wait.run(member.group.id, 0, seq, lanes, key)
    }
    return rows.map(([seq, fence, of]) => ({ seq, fence, owner: of }))
  }

  /** When the next lease of another member runs out. */
  nextExpiry(member: Member): number {
    return (this.#nextExpiry.get(member.group.id, member.owner) as unknown as [number | null])[0] ?? Number.POSITIVE_INFINITY
  }

  /** Gives back everything an owner has of a group. Returns how much it was. */
  returnAll(group: number, owner: number): number {
    const rows = this.#ofMember.all(group, owner) as unknown as [number, number, number | null, string | null][]
    for (const [seq, fence, lanes, key] of rows) {
      this.#delete.run(group, seq, fence)
      this.#wait.run(group, 0, seq, lanes, key)
    }
    return rows.length
  }

  forgetMember(owner: number): void {
    this.#forgetMember.run(owner)
  }

  #ackRun(member: Member, first: number, last: number, fence: number, run: number): boolean {
    const group = member.group.id
    if ((this.#countRun.get(group, first, last, fence) as unknown as [number])[0] !== run) return false
    this.#deleteRun.run(group, first, last, fence)
    return true
  }

  #release(group: number, sequence: number, fence: number, due: number): boolean {
    const row = this.#read.get(group, sequence, fence) as unknown as [number | null, string | null] | undefined
    if (!row) return false
    this.#delete.run(group, sequence, fence)
    this.#wait.run(group, due, sequence, row[0], row[1])
    return true
  }
}

/** How many acknowledgements from `from` on are neighbours in one claim: no lease of it lies between them. */
function runLength(claimed: Claimed | undefined, rows: Float64Array, from: number, count: number): number {
  if (!claimed) return 1
  const { sequences } = claimed
  const source = rows[from * settleFields]!
  const fence = rows[from * settleFields + 3]!
  let place = search(sequences, rows[from * settleFields + 2]!)
  if (place < 0) return 1
  let run = 1
  for (let i = from + 1; i < count; i++, run++) {
    const at = i * settleFields
    if (rows[at] !== source || rows[at + 1] !== settleKind.ack || rows[at + 3] !== fence || rows[at + 2] !== sequences[++place]) break
  }
  return run
}

function search(sorted: readonly number[], wanted: number): number {
  let low = 0
  let high = sorted.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    if (sorted[middle]! < wanted) low = middle + 1
    else if (sorted[middle]! > wanted) high = middle - 1
    else return middle
  }
  return -1
}
