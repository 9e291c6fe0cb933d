import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Database } from './database.ts'
import { isBusy } from './failure.ts'

const folder = 'members'
/** How long it is believed that a process still lives. */
const believeMs = 1000

/**
 * Which processes use the store, and which of them live. Each holds a lock on a file of its own, which the system frees
 * when the process dies, however it dies; whoever can take the lock knows.
 */
export class Presence {
  /** This process's row. */
  readonly id: number
  readonly #dir: string | undefined
  readonly #lock: string
  readonly #held: DatabaseSync | undefined
  readonly #alive = new Map<number, number>()
  readonly #members: StatementSync
  readonly #lockOf: StatementSync
  readonly #others: StatementSync
  readonly #membersOf: StatementSync
  readonly #forget: readonly StatementSync[]

  constructor(db: Database, dir: string | undefined, now: number) {
    this.#dir = dir
    this.#lock = `${process.pid}-${randomBytes(6).toString('hex')}.lock`
    if (dir !== undefined) {
      mkdirSync(join(dir, folder), { recursive: true })
      // Held before the row is there: a process that is listed is never taken for dead.
      this.#held = new DatabaseSync(join(dir, folder, this.#lock))
      this.#held.exec('PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE')
    }
    this.id = db.patiently(() =>
      Number(db.prepare('INSERT INTO process(lock, pid, started_at) VALUES(?, ?, ?)').run(this.#lock, process.pid, now).lastInsertRowid),
    )
    this.#members = db.rows('SELECT process, count(*) FROM member WHERE grp=? GROUP BY process')
    this.#lockOf = db.rows('SELECT lock FROM process WHERE id=?')
    this.#others = db.rows('SELECT id FROM process WHERE id<>?')
    this.#membersOf = db.rows('SELECT owner, grp FROM member WHERE process=?')
    const taken = 'DELETE FROM question_taken WHERE responder IN (SELECT id FROM responder WHERE process=?)'
    this.#forget = [
      taken,
      'DELETE FROM responder WHERE process=?',
      'DELETE FROM question WHERE process=?',
      'DELETE FROM member WHERE process=?',
      'DELETE FROM process WHERE id=?',
    ].map((sql) => db.prepare(sql))
  }

  liveMembers(group: number, now: number): number {
    const rows = this.#members.all(group) as unknown as [number, number][]
    return rows.reduce((sum, [process, count]) => (this.lives(process, now) ? sum + count : sum), 0)
  }

  lives(process: number, now: number): boolean {
    if (process === this.id) return true
    if (this.#dir === undefined) return false
    if (now < (this.#alive.get(process) ?? 0)) return true
    const row = this.#lockOf.get(process) as unknown as [string] | undefined
    const alive = row !== undefined && isLocked(join(this.#dir, folder, row[0]))
    if (alive) this.#alive.set(process, now + believeMs)
    else this.#alive.delete(process)
    return alive
  }

  /** What was believed until a time of the old clock. */
  clockSetBack(): void {
    this.#alive.clear()
  }

  /** Listed and dead. */
  dead(now: number): number[] {
    if (this.#dir === undefined) return []
    return (this.#others.all(this.id) as unknown as [number][]).map(([id]) => id).filter((id) => !this.lives(id, now))
  }

  /** What a process was a member of. */
  memberships(process: number): { owner: number; group: number }[] {
    return (this.#membersOf.all(process) as unknown as [number, number][]).map(([owner, group]) => ({ owner, group }))
  }

  /** Its rows and its file; its leases are given back before. */
  forget(process: number): void {
    const row = this.#lockOf.get(process) as unknown as [string] | undefined
    for (const statement of this.#forget) statement.run(process)
    if (row && this.#dir !== undefined && process !== this.id) rmSync(join(this.#dir, folder, row[0]), { force: true })
  }

  /** Once nothing of this process is listed any more. */
  close(): void {
    this.#held?.close()
    if (this.#dir !== undefined) rmSync(join(this.#dir, folder, this.#lock), { force: true })
  }
}

function isLocked(file: string): boolean {
  if (!existsSync(file)) return false
  let probe: DatabaseSync | undefined
  try {
    probe = new DatabaseSync(file, { timeout: 0 })
    probe.exec('BEGIN IMMEDIATE; ROLLBACK')
    return false
  } catch (error) {
    // Anything but a lock says nothing of the process: its leases then end by their time.
    return isBusy(error) || existsSync(file)
  } finally {
    probe?.close()
  }
}
