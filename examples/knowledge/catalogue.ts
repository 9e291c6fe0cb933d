import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Operation } from './documents.ts'

export interface Change {
  readonly path: string
  readonly operation: Operation
  readonly digest: string | null
}

/** What stands in the catalogue for a file that cannot be read here: the workers find out, and say so. */
const unreadable = 'unreadable'

/**
 * What was told about which file. A change is written down as open before its event is published, and as told after: a
 * publisher that dies between the two tells it again, and never forgets it.
 */
export class Catalogue {
  readonly #db: DatabaseSync
  readonly #types: RegExp

  constructor(store: string, types: readonly string[]) {
    this.#types = new RegExp(`\\.(${types.map((type) => type.replaceAll(/[^\w]/g, '\\$&')).join('|')})$`, 'i')
    this.#db = new DatabaseSync(join(store, 'catalogue.db'), { timeout: 5000 })
    this.#db.exec(`PRAGMA journal_mode = WAL;
      CREATE TABLE IF NOT EXISTS file(path TEXT PRIMARY KEY, folder TEXT NOT NULL, mark TEXT, digest TEXT, operation TEXT)`)
  }

  /** Compares a folder with what was told of it; returns what has to be told, also what an earlier look left open. */
  look(folder: string): Change[] {
    const db = this.#db
    const known = new Map(
      (
        db.prepare('SELECT path, mark, digest FROM file WHERE folder=?').all(folder) as { path: string; mark: string; digest: string }[]
      ).map((row) => [row.path, row]),
    )
    const seen = db.prepare('UPDATE file SET mark=? WHERE path=?')
    const open = db.prepare(
      `INSERT INTO file(path, folder, mark, digest, operation) VALUES(?, ?, ?, ?, ?) ON CONFLICT(path) DO UPDATE
       SET folder=excluded.folder, mark=excluded.mark, digest=excluded.digest, operation=excluded.operation`,
    )
    db.exec('BEGIN IMMEDIATE')
    try {
      for (const [path, stat] of this.#filesOf(folder)) {
        const before = known.get(path)
        known.delete(path)
        const mark = `${stat.size} ${stat.mtimeMs}`
        // A file of the same size and time is not read again.
        if (before?.mark === mark && before.digest !== unreadable) continue
        const digest = digestOf(path)
        if (before?.digest === digest) seen.run(mark, path)
        else open.run(path, folder, mark, digest, before?.digest ? 'updated' : 'added')
      }
      for (const [path, { digest }] of known) if (digest !== null) open.run(path, folder, null, null, 'deleted')
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
    return db
      .prepare('SELECT path, operation, digest FROM file WHERE folder=? AND operation IS NOT NULL')
      .all(folder) as unknown as Change[]
  }

  /** These were published. One that has changed again meanwhile stays open. */
  told(changes: readonly Change[]): void {
    const told = this.#db.prepare('UPDATE file SET operation=NULL WHERE path=? AND digest IS ?')
    this.#db.exec('BEGIN IMMEDIATE')
    for (const { path, digest } of changes) told.run(path, digest)
    this.#db.exec('DELETE FROM file WHERE digest IS NULL AND operation IS NULL; COMMIT')
  }

  *#filesOf(folder: string): Generator<[path: string, stat: Stats]> {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory() && !entry.name.startsWith('.')) yield* this.#filesOf(path)
      else if (entry.isFile() && this.#types.test(entry.name)) {
        const stat = statSync(path, { throwIfNoEntry: false })
        if (stat) yield [path, stat]
      }
    }
  }

  close(): void {
    this.#db.close()
  }
}

function digestOf(path: string): string {
  try {
    return sha256(readFileSync(path))
  } catch {
    return unreadable
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
