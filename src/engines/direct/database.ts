import { existsSync, mkdirSync, watch } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { BusError } from '../../errors.ts'
import { applicationId, migrations } from '../embedded/store/schema.ts'

const busy = 5

/** The error of the store as one of the bus, with what to do. */
export function storeError(error: unknown, path: string): BusError {
  if (error instanceof BusError) return error
  const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff
  const text = error instanceof Error ? error.message : String(error)
  if (code === 13)
    return new BusError('store_full', `the disk of the store ${path} is full; free some space, nothing that was confirmed is lost`, {
      cause: error,
    })
  if (code === 8 || code === 14)
    return new BusError('store_readonly', `the store ${path} cannot be written (${text}); check the folder's owner and permissions`, {
      cause: error,
    })
  if (code === 11 || code === 26)
    return new BusError(
      'store_corrupt',
      `the file ${path} is damaged or no store of cozebus (${text}); nothing was changed in it: restore a copy, or give another folder`,
      { cause: error },
    )
  if (code === busy) return new BusError('engine_unavailable', `the store ${path} is locked by another process`, { cause: error })
  return new BusError('publish_rejected', `the store ${path} refused: ${text}`, { cause: error })
}

export function isBusy(error: unknown): boolean {
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === busy
}

/** The file, its schema, and its prepared statements. */
export class Database {
  readonly db: DatabaseSync
  readonly path: string
  readonly #statements = new Map<string, StatementSync>()
  #full = true

  constructor(dir: string | undefined) {
    this.path = dir === undefined ? ':memory:' : join(dir, 'cozebus.db')
    let db: DatabaseSync | undefined
    try {
      if (dir !== undefined && !existsSync(dir)) mkdirSync(dir, { recursive: true })
      db = new DatabaseSync(this.path, { timeout: 0 })
      this.#migrate(db)
    } catch (error) {
      db?.close()
      if ((error as { code?: string }).code === 'EACCES' || (error as { code?: string }).code === 'EROFS')
        throw new BusError('store_readonly', `the folder ${dir} cannot be made or written; check its owner and permissions`, {
          cause: error,
        })
      throw storeError(error, this.path)
    }
    this.db = db
  }

  #migrate(db: DatabaseSync): void {
    // Opening may meet another process that does the same, or commits just now.
    const patiently = <T>(action: () => T): T => {
      for (let tries = 0; ; tries++) {
        try {
          return action()
        } catch (error) {
          if (!isBusy(error) || tries > 500) throw error
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5 + Math.random() * 10)
        }
      }
    }
    const read = (name: string): number =>
      Number(Object.values(patiently(() => db.prepare(`PRAGMA ${name}`).get()) as Record<string, number>)[0])
    const version = read('user_version')
    const application = read('application_id')
    const tables = Number((patiently(() => db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()) as { n: number }).n)
    if (tables > 0 && application !== applicationId)
      throw new BusError('store_corrupt', `the file ${this.path} belongs to another program; give another folder`)
    if (version > migrations.length)
      throw new BusError(
        'store_newer',
        `the store ${this.path} was written by a newer cozebus (schema ${version}, this one knows ${migrations.length}); upgrade cozebus`,
      )
    patiently(() =>
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 2000'),
    )
    if (version === migrations.length) return
    patiently(() => db.exec('BEGIN IMMEDIATE'))
    try {
      const now = Number(Object.values(db.prepare('PRAGMA user_version').get() as Record<string, number>)[0])
      for (const migration of migrations.slice(now)) db.exec(migration)
      db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${migrations.length}`)
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
  }

  /** Whether the next transactions must have reached the disk when they commit. */
  durable(on: boolean): void {
    if (this.#full === on) return
    this.#full = on
    this.db.exec(`PRAGMA synchronous = ${on ? 'FULL' : 'NORMAL'}`)
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.db.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  run(sql: string, ...values: (string | number | null | Uint8Array)[]) {
    return this.#prepare(sql).run(...values)
  }

  get<T>(sql: string, ...values: (string | number | null | Uint8Array)[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined
  }

  all<T>(sql: string, ...values: (string | number | null | Uint8Array)[]): T[] {
    return this.#prepare(sql).all(...values) as T[]
  }

  /** Grows when another process wrote. */
  get version(): number {
    return this.get<{ data_version: number }>('PRAGMA data_version')!.data_version
  }

  /** Calls when the files of the store change; returns the way to stop. */
  bell(dir: string, listener: () => void): () => void {
    try {
      const watcher = watch(dir, listener)
      watcher.on('error', () => {})
      watcher.unref()
      return () => watcher.close()
    } catch {
      const timer = setInterval(listener, 25)
      timer.unref()
      return () => clearInterval(timer)
    }
  }

  close(): void {
    this.db.close()
  }
}
