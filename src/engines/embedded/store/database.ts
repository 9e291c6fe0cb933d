import { statSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { BusError } from '../../../errors.ts'
import { failedCheck, isBusy, storeError } from './failure.ts'
import { prepareLocation, Suspicion } from './location.ts'
import { applicationId, migrations } from './schema.ts'

const openWaitMs = 10_000
/** Every page is checked at open while that takes some 10 ms; of a store that was not closed, while it takes some 100 ms. */
const checkAlwaysBytes = 4 * 1024 * 1024
const checkUncleanBytes = 32 * 1024 * 1024

/** The connection: opens and migrates the file, and runs transactions. */
export class Database {
  /** For messages. */
  readonly where: string
  readonly #raw: DatabaseSync
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #version: StatementSync
  readonly #full: StatementSync
  readonly #normal: StatementSync
  readonly #inMemory: boolean
  readonly #suspicion: Suspicion | undefined
  #durable = true
  #seenVersion: number
  #wrote = false

  /** `steps`: the migrations to apply; tests bring their own. */
  constructor(dir: string | undefined, steps: readonly string[] = migrations) {
    this.#inMemory = dir === undefined
    this.where = dir === undefined ? 'store in memory' : `store '${dir}'`
    const file = dir === undefined ? ':memory:' : prepareLocation(dir)
    this.#suspicion = dir === undefined ? undefined : new Suspicion(dir)
    let raw: DatabaseSync | undefined
    try {
      const unclean = dir !== undefined && (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
      const size = dir === undefined ? 0 : (statSync(file, { throwIfNoEntry: false })?.size ?? 0)
      const suspected = this.#suspicion?.raised
      const checked = suspected ? Number.POSITIVE_INFINITY : unclean ? checkUncleanBytes : checkAlwaysBytes
      raw = new DatabaseSync(file, { timeout: openWaitMs })
      migrate(raw, this.where, size > 0 && size < checked, steps)
      if (suspected) this.#suspicion?.drop()
      // From here on a lock is never waited for inside SQLite: its waits are long and unfair (1.3 to 2.5 s with four writers).
      raw.exec('PRAGMA busy_timeout=0')
    } catch (error) {
      raw?.close()
      throw storeError(error, this.where)
    }
    this.#raw = raw
    this.#begin = raw.prepare('BEGIN IMMEDIATE')
    this.#commit = raw.prepare('COMMIT')
    this.#version = this.rows('PRAGMA data_version')
    this.#full = raw.prepare('PRAGMA synchronous=FULL')
    this.#normal = raw.prepare('PRAGMA synchronous=NORMAL')
    this.#full.run()
    this.#seenVersion = this.#dataVersion()
  }

  prepare(sql: string): StatementSync {
    return this.#raw.prepare(sql)
  }

  /** A statement whose rows are arrays: cheaper than objects where there are many. */
  rows(sql: string): StatementSync {
    const statement = this.#raw.prepare(sql)
    statement.setReturnArrays(true)
    return statement
  }

  /** False when another process is writing. `durable`: the commit waits for the disk. */
  begin(durable: boolean): boolean {
    if (durable !== this.#durable && !this.#inMemory) {
      if (durable) this.#full.run()
      else this.#normal.run()
      this.#durable = durable
    }
    try {
      this.#begin.run()
      return true
    } catch (error) {
      if (isBusy(error)) return false
      throw error
    }
  }

  /** Runs one statement at a time when nobody else may go first: at open. */
  patiently<Result>(action: () => Result): Result {
    this.#raw.exec(`PRAGMA busy_timeout=${openWaitMs}`)
    try {
      return action()
    } finally {
      this.#raw.exec('PRAGMA busy_timeout=0')
    }
  }

  commit(): void {
    this.#commit.run()
    this.#wrote = true
  }

  /** Whether this process has committed since the last call. */
  wrote(): boolean {
    const wrote = this.#wrote
    this.#wrote = false
    return wrote
  }

  rollback(): void {
    // Some failures (a full disk) have rolled back already.
    if (this.#raw.isTransaction) this.#raw.exec('ROLLBACK')
  }

  /** Whether another process has committed since the last call. */
  changedElsewhere(): boolean {
    if (this.#inMemory) return false
    const version = this.#dataVersion()
    if (version === this.#seenVersion) return false
    this.#seenVersion = version
    return true
  }

  #dataVersion(): number {
    return (this.#version.get() as unknown as [number])[0]
  }

  /** SQLite found the file corrupt: whoever opens it next checks every page first. */
  suspect(): void {
    this.#suspicion?.raise()
  }

  close(): void {
    this.#raw.close()
  }
}

function migrate(raw: DatabaseSync, where: string, check: boolean, steps: readonly string[]): void {
  const pragma = (name: string): unknown => Object.values(raw.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  const refuseForeign = (): void => {
    const id = pragma('application_id')
    if (
      id !== applicationId &&
      (id !== 0 || pragma('user_version') !== 0 || raw.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() !== undefined)
    )
      throw new BusError('store_corrupt', `${where}: the file is another program's database; nothing was changed. Choose another folder`)
    const version = pragma('user_version') as number
    if (version > steps.length)
      throw new BusError(
        'store_newer',
        `${where}: a newer cozebus wrote it (format ${version}, this one knows up to ${steps.length}); nothing was changed. Update cozebus, or choose another folder`,
      )
  }
  refuseForeign()
  if (check && pragma('quick_check(1)') !== 'ok') throw failedCheck(where)
  raw.exec(
    'PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA cache_size=-8000; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY',
  )
  if (pragma('user_version') === steps.length) return
  raw.exec('BEGIN IMMEDIATE')
  // Another process may have done it while this one waited.
  refuseForeign()
  for (let version = pragma('user_version') as number; version < steps.length; version++) raw.exec(steps[version]!)
  raw.exec(`PRAGMA application_id=${applicationId}; PRAGMA user_version=${steps.length}; COMMIT`)
}
