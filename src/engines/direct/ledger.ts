import type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../../ledger/ledger.ts'
import type { Database } from './database.ts'
import type { Turns } from './turns.ts'

/** Records in the store itself. */
export class DirectLedger implements Ledger {
  readonly name: string
  readonly #database: Database
  readonly #turns: Turns
  readonly #watches = new Set<{ space: LedgerSpace; prefix: string; listener: (key: string) => void }>()
  #seen: number

  constructor(database: Database, turns: Turns, name: string) {
    this.#database = database
    this.#turns = turns
    this.name = name
    this.#seen = database.get<{ n: number | null }>('SELECT max(n) AS n FROM record_change')?.n ?? 0
  }

  async write(records: readonly LedgerRecord[]): Promise<void> {
    const now = Date.now()
    await this.#turns.write(() => {
      for (const { space, key, value } of records) {
        if (value === undefined) this.#database.run('DELETE FROM record WHERE space = ? AND key = ?', space, key)
        else
          this.#database.run(
            'INSERT INTO record(space, key, value) VALUES(?, ?, ?) ON CONFLICT(space, key) DO UPDATE SET value = excluded.value',
            space,
            key,
            value,
          )
        // Watched by anybody are pauses only, and small; the rest would double each write.
        if (space === 'pauses') this.#database.run('INSERT INTO record_change(space, key, at) VALUES(?, ?, ?)', space, key, now)
      }
    })
    this.look()
  }

  async read(space: LedgerSpace, keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    return keys.map(
      (key) => this.#database.get<{ value: Uint8Array }>('SELECT value FROM record WHERE space = ? AND key = ?', space, key)?.value,
    )
  }

  async list(space: LedgerSpace, prefix: string, page: { after?: string | undefined; limit: number }): Promise<LedgerEntry[]> {
    const [low, high] = range(prefix)
    return this.#database.all<LedgerEntry>(
      'SELECT key, value FROM record WHERE space = ? AND key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?',
      space,
      low,
      high,
      page.after ?? '',
      page.limit,
    )
  }

  async count(space: LedgerSpace, prefix: string): Promise<number> {
    return this.#database.get<{ n: number }>(
      'SELECT count(*) AS n FROM record WHERE space = ? AND key >= ? AND key < ?',
      space,
      ...range(prefix),
    )!.n
  }

  watch(space: LedgerSpace, prefix: string, listener: (key: string) => void): () => void {
    const watch = { space, prefix, listener }
    this.#watches.add(watch)
    return () => this.#watches.delete(watch)
  }

  /** Tells watchers what changed since the last look. */
  look(): void {
    if (this.#watches.size === 0) return
    for (const { n, space, key } of this.#database.all<{ n: number; space: string; key: string }>(
      'SELECT n, space, key FROM record_change WHERE n > ? ORDER BY n',
      this.#seen,
    )) {
      this.#seen = n
      for (const watch of this.#watches) if (watch.space === space && key.startsWith(watch.prefix)) watch.listener(key)
    }
  }
}

/** All texts that begin with the prefix lie in [low, high). */
function range(prefix: string): [string, string] {
  return [prefix, prefix === '' ? '\u{10ffff}' : prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)]
}
