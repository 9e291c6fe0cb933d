import type { StatementSync } from 'node:sqlite'
import type { Database } from './database.ts'

/** What other processes may have touched, found without looking at every topic and group. */
export class Changes {
  readonly #topics: StatementSync
  readonly #waiting: StatementSync
  readonly #leased: StatementSync
  #seen = 0

  constructor(db: Database) {
    this.#topics = db.rows('SELECT id, last_seq FROM topic WHERE last_seq>? ORDER BY last_seq')
    // One step a group through the key, whatever number of rows each has.
    const groups = (table: string): string =>
      `WITH RECURSIVE found(g) AS (SELECT min(grp) FROM ${table} UNION ALL SELECT (SELECT min(grp) FROM ${table} WHERE grp>g) FROM found WHERE g IS NOT NULL) SELECT g FROM found WHERE g IS NOT NULL`
    this.#waiting = db.rows(groups('waiting'))
    this.#leased = db.rows(groups('lease'))
  }

  /** Topics with messages that are new since the last call. */
  topics(): number[] {
    const rows = this.#topics.all(this.#seen) as unknown as [number, number][]
    if (rows.length > 0) this.#seen = rows.at(-1)![1]
    return rows.map(([id]) => id)
  }

  groupsWaiting(): Set<number> {
    return new Set((this.#waiting.all() as unknown as [number][]).map(([group]) => group))
  }

  groupsLeased(): Set<number> {
    return new Set((this.#leased.all() as unknown as [number][]).map(([group]) => group))
  }
}
