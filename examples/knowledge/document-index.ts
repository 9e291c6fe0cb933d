import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface Indexed {
  readonly path: string
  readonly digest: string
  readonly pieces: number
}

/**
 * Documents in SQLite full text. A document is replaced as a whole, in one transaction, so handling an event twice harms
 * nothing; and a writer whose fence is below the last one's is refused, so a worker that slept through its lease cannot
 * put an old text over a newer one. That is why a removed document keeps its row.
 */
export class DocumentIndex {
  readonly #db: DatabaseSync

  constructor(store: string) {
    this.#db = new DatabaseSync(join(store, 'index.db'), { timeout: 5000 })
    this.#db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
      CREATE TABLE IF NOT EXISTS document(path TEXT PRIMARY KEY, fence INTEGER NOT NULL, digest TEXT, pieces INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS piece(id INTEGER PRIMARY KEY, path TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS piece_path ON piece(path);
      CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text)`)
  }

  put(path: string, digest: string, pieces: readonly string[], fence: number): void {
    this.#write(path, digest, pieces, fence)
  }

  remove(path: string, fence: number): void {
    this.#write(path, null, [], fence)
  }

  /** @throws Error when a later owner of the document has written already */
  #write(path: string, digest: string | null, pieces: readonly string[], fence: number): void {
    const db = this.#db
    db.exec('BEGIN IMMEDIATE')
    try {
      const written = db
        .prepare(
          `INSERT INTO document(path, fence, digest, pieces) VALUES(?, ?, ?, ?) ON CONFLICT(path) DO UPDATE
           SET fence=excluded.fence, digest=excluded.digest, pieces=excluded.pieces WHERE excluded.fence >= document.fence`,
        )
        .run(path, fence, digest, pieces.length)
      if (written.changes === 0) throw new Error(`${path}: a later owner has written it; this one lost its lease`)
      db.prepare('DELETE FROM words WHERE rowid IN (SELECT id FROM piece WHERE path=?)').run(path)
      db.prepare('DELETE FROM piece WHERE path=?').run(path)
      const place = db.prepare('INSERT INTO piece(path) VALUES(?)')
      const insert = db.prepare('INSERT INTO words(rowid, text) VALUES(?, ?)')
      for (const text of pieces) insert.run(place.run(path).lastInsertRowid, text)
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
  }

  /** The best documents that hold all the words, each with its best place. */
  search(text: string, limit = 5): { path: string; snippet: string }[] {
    const query = text
      .split(/\s+/)
      .filter((word) => word !== '')
      .map((word) => `"${word.replaceAll('"', '""')}"`)
      .join(' ')
    if (query === '') return []
    const hits = this.#db
      .prepare(
        `SELECT piece.path, snippet(words, 0, '[', ']', '…', 12) AS snippet
         FROM words JOIN piece ON piece.id = words.rowid WHERE words MATCH ? ORDER BY rank LIMIT ?`,
      )
      .all(query, limit * 10) as { path: string; snippet: string }[]
    return [...new Map(hits.toReversed().map((hit) => [hit.path, hit])).values()].reverse().slice(0, limit)
  }

  documents(): Indexed[] {
    return this.#db
      .prepare('SELECT path, digest, pieces FROM document WHERE digest IS NOT NULL ORDER BY path')
      .all() as unknown as Indexed[]
  }

  get size(): { documents: number; pieces: number } {
    return this.#db
      .prepare('SELECT count(*) AS documents, coalesce(sum(pieces), 0) AS pieces FROM document WHERE digest IS NOT NULL')
      .get() as { documents: number; pieces: number }
  }

  /** Pieces in the full text, counted there: more or fewer than `size.pieces` would be a fault. */
  get stored(): number {
    return (this.#db.prepare('SELECT count(*) AS n FROM words').get() as { n: number }).n
  }

  close(): void {
    this.#db.close()
  }
}
