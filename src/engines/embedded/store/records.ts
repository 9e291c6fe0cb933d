import type { StatementSync } from 'node:sqlite'
import type { LedgerEntry, LedgerRecord, LedgerSpace } from '../../../ledger/ledger.ts'
import { blob } from './blob.ts'
import type { Database } from './database.ts'
import type { Outbox } from './outbox.ts'

/** How long a change stays listed for watchers in other processes. */
const keepChangesMs = 10 * 60_000
const trimMost = 1000
/** Greater than any text that begins with the prefix. */
const last = '\u{10ffff}'

/** The ledger's records, and the list of what changed lately. */
export class Records {
  readonly #out: Outbox
  readonly #set: StatementSync
  readonly #delete: StatementSync
  readonly #get: StatementSync
  readonly #list: StatementSync
  readonly #keys: StatementSync
  readonly #count: StatementSync
  readonly #change: StatementSync
  readonly #changesAfter: StatementSync
  readonly #lastChange: StatementSync
  readonly #trim: StatementSync
  #watching = false
  #seen = 0

  constructor(db: Database, out: Outbox) {
    this.#out = out
    this.#set = db.prepare(
      'INSERT INTO record(space, key, value) VALUES(?, ?, ?) ON CONFLICT(space, key) DO UPDATE SET value=excluded.value',
    )
    this.#delete = db.prepare('DELETE FROM record WHERE space=? AND key=?')
    this.#get = db.rows('SELECT value FROM record WHERE space=? AND key=?')
    this.#list = db.rows('SELECT key, value FROM record WHERE space=? AND key>? AND key>=? AND key<? ORDER BY key LIMIT ?')
    this.#keys = db.rows('SELECT key FROM record WHERE space=? AND key>? AND key>=? AND key<? ORDER BY key LIMIT ?')
    this.#count = db.rows('SELECT count(*) FROM record WHERE space=? AND key>=? AND key<?')
    this.#change = db.prepare('INSERT INTO record_change(space, key, at) VALUES(?, ?, ?)')
    this.#changesAfter = db.rows('SELECT n, space, key FROM record_change WHERE n>? ORDER BY n LIMIT 1000')
    this.#lastChange = db.rows('SELECT coalesce(max(n), 0) FROM record_change')
    this.#trim = db.prepare(`DELETE FROM record_change WHERE n IN (SELECT n FROM record_change WHERE at<? ORDER BY n LIMIT ${trimMost})`)
  }

  write(records: readonly LedgerRecord[], now: number): void {
    for (const { space, key, value } of records) {
      if (value) this.#set.run(space, key, blob(value))
      else if (this.#delete.run(space, key).changes === 0) continue
      // Written all the time, and nobody waits for it.
      if (space !== 'hands') this.#change.run(space, key, now)
    }
  }

  read(space: LedgerSpace, keys: readonly string[]): (Uint8Array | undefined)[] {
    return keys.map((key) => (this.#get.get(space, key) as unknown as [Uint8Array] | undefined)?.[0])
  }

  list(space: LedgerSpace, prefix: string, after: string | undefined, limit: number): LedgerEntry[] {
    const rows = this.#list.all(space, after ?? '', prefix, prefix + last, limit) as unknown as [string, Uint8Array][]
    return rows.map(([key, value]) => ({ key, value }))
  }

  keys(space: LedgerSpace, prefix: string, after: string | undefined, limit: number): string[] {
    return (this.#keys.all(space, after ?? '', prefix, prefix + last, limit) as unknown as [string][]).map(([key]) => key)
  }

  count(space: LedgerSpace, prefix: string): number {
    return (this.#count.get(space, prefix, prefix + last) as unknown as [number])[0]
  }

  watch(on: boolean): void {
    if (on && !this.#watching) this.#seen = (this.#lastChange.get() as unknown as [number])[0]
    this.#watching = on
  }

  /** Tells the watchers what changed, here or elsewhere, since the last call. */
  tell(): void {
    while (this.#watching) {
      const rows = this.#changesAfter.all(this.#seen) as unknown as [number, LedgerSpace, string][]
      if (rows.length === 0) return
      this.#seen = rows.at(-1)![0]
      this.#out.push({ op: 'records', changes: rows.map(([, space, key]) => ({ space, key })) })
    }
  }

  /** True when there is more to sweep. */
  sweep(now: number): boolean {
    return this.#trim.run(now - keepChangesMs).changes === trimMost
  }
}
