import type { StatementSync } from 'node:sqlite'
import type { Database } from './database.ts'

/** Which processes use the store, and which of them live. */
export class Presence {
  /** This process's row. */
  id: number
  readonly #members: StatementSync
  readonly #forget: StatementSync

  constructor(db: Database, _dir: string | undefined, now: number) {
    this.id = Number(db.prepare('INSERT INTO process(lock, pid, started_at) VALUES(?, ?, ?)').run('', process.pid, now).lastInsertRowid)
    this.#members = db.rows('SELECT count(*) FROM member WHERE grp=?')
    this.#forget = db.prepare('DELETE FROM process WHERE id=?')
  }

  liveMembers(group: number): number {
    return (this.#members.get(group) as unknown as [number])[0]
  }

  lives(_process: number, _now: number): boolean {
    return true
  }

  leave(): void {
    this.#forget.run(this.id)
  }
}
