import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import { type DeliveryContext, type Message, topic } from '../../src/index.ts'

/** One event a file, ordered by document: an update never overtakes the upload, nor a deletion the update. */
export const documents = topic('coze.knowledge.{knowledgeId}.{operation}', {
  schema: z.object({ path: z.string() }),
  key: (document) => document.path,
})

const pieceLength = 1000

/** Splits at paragraphs, then at the length. */
export function split(text: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (const paragraph of text.split(/\n\s*\n/)) {
    if (piece !== '' && piece.length + paragraph.length > pieceLength) {
      pieces.push(piece)
      piece = ''
    }
    piece += `${paragraph}\n\n`
    while (piece.length > pieceLength * 2) {
      pieces.push(piece.slice(0, pieceLength))
      piece = piece.slice(pieceLength)
    }
  }
  if (piece.trim() !== '') pieces.push(piece)
  return pieces
}

/** Full text of documents in SQLite (FTS5). Indexing the same document again replaces it, so a repeat harms nothing. */
export class Index {
  readonly #db: DatabaseSync

  constructor(file: string) {
    this.#db = new DatabaseSync(file, { timeout: 5000 })
    this.#db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
      CREATE TABLE IF NOT EXISTS document(path TEXT PRIMARY KEY, digest TEXT NOT NULL, pieces INTEGER NOT NULL);
      CREATE VIRTUAL TABLE IF NOT EXISTS piece USING fts5(path UNINDEXED, text)`)
  }

  async handle(message: Message<{ path: string }, { operation: string }>, delivery: DeliveryContext): Promise<void> {
    const { path } = message.body
    if (message.params.operation === 'deleted') {
      this.#replace(path, '', [])
      return
    }
    const bytes = await readFile(path, { signal: delivery.signal })
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    delivery.progress(0.3, 'splitting')
    const pieces = split(text)
    delivery.progress(0.6, 'indexing')
    this.#replace(path, createHash('sha256').update(bytes).digest('hex'), pieces)
    delivery.progress(1)
  }

  #replace(path: string, digest: string, pieces: readonly string[]): void {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      this.#db.prepare('DELETE FROM piece WHERE path = ?').run(path)
      this.#db.prepare('DELETE FROM document WHERE path = ?').run(path)
      if (pieces.length > 0) {
        const insert = this.#db.prepare('INSERT INTO piece(path, text) VALUES(?, ?)')
        for (const text of pieces) insert.run(path, text)
        this.#db.prepare('INSERT INTO document(path, digest, pieces) VALUES(?, ?, ?)').run(path, digest, pieces.length)
      }
      this.#db.exec('COMMIT')
    } catch (error) {
      this.#db.exec('ROLLBACK')
      throw error
    }
  }

  search(words: string, limit = 5): { path: string; snippet: string }[] {
    const query = words
      .split(/\s+/)
      .filter((word) => word !== '')
      .map((word) => `"${word.replaceAll('"', '""')}"`)
      .join(' ')
    return this.#db
      .prepare("SELECT path, snippet(piece, 1, '[', ']', '…', 12) AS snippet FROM piece WHERE piece MATCH ? ORDER BY rank LIMIT ?")
      .all(query, limit) as { path: string; snippet: string }[]
  }

  get size(): { documents: number; pieces: number } {
    return this.#db.prepare('SELECT count(*) AS documents, coalesce(sum(pieces), 0) AS pieces FROM document').get() as {
      documents: number
      pieces: number
    }
  }

  close(): void {
    this.#db.close()
  }
}
