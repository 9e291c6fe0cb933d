import { BusError } from '../../errors.ts'
import { matcher } from '../../topic/pattern.ts'
import type { KeyValueStore, KvBucket, KvEntry, KvOptions } from '../engine.ts'
import type { Database } from './database.ts'
import type { Turns } from './turns.ts'

interface Row {
  readonly key: string
  readonly revision: number
  readonly deleted: number
  readonly at: number
  readonly value: Uint8Array
}

const fields = 'key, revision, deleted, at, value'

export class DirectKv implements KeyValueStore {
  readonly #database: Database
  readonly #turns: Turns
  readonly #watches = new Set<() => void>()

  constructor(database: Database, turns: Turns) {
    this.#database = database
    this.#turns = turns
  }

  look = (): void => {
    for (const watch of this.#watches) watch()
  }

  async open(name: string, options: KvOptions): Promise<KvBucket> {
    const [database, turns, watches, look] = [this.#database, this.#turns, this.#watches, this.look]
    const bucket = await turns.write(() => {
      database.run(
        'INSERT INTO kv_bucket(name, history, ttl_ms) VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE SET history = coalesce(?, history), ttl_ms = coalesce(?, ttl_ms)',
        name,
        options.history ?? 1,
        options.ttlMs ?? null,
        options.history ?? null,
        options.ttlMs ?? null,
      )
      return database.get<{ id: number }>('SELECT id FROM kv_bucket WHERE name = ?', name)!.id
    })
    const alive = (): number =>
      Date.now() - (database.get<{ ttl: number | null }>('SELECT ttl_ms AS ttl FROM kv_bucket WHERE id = ?', bucket)?.ttl ?? Date.now())
    const newest = (key: string): Row | undefined =>
      database.get<Row>(
        `SELECT ${fields} FROM kv_entry WHERE bucket = ? AND key = ? AND at > ? ORDER BY revision DESC LIMIT 1`,
        bucket,
        key,
        alive(),
      )
    const change = async (key: string, value: Uint8Array, deleted: number, expected: number | undefined): Promise<number> => {
      const revision = await turns.write(() => {
        const last = newest(key)
        const stands = last && last.deleted === 0 ? last.revision : 0
        if (expected !== undefined && expected !== stands)
          throw new BusError(
            'conflict',
            stands === 0
              ? `key '${key}' does not exist`
              : `key '${key}' stands at revision ${stands}${expected === 0 ? ' already' : `, not ${expected}`}; read it again`,
          )
        database.run('UPDATE kv_bucket SET revision = revision + 1 WHERE id = ?', bucket)
        const { revision: next, history } = database.get<{ revision: number; history: number }>(
          'SELECT revision, history FROM kv_bucket WHERE id = ?',
          bucket,
        )!
        database.run(
          'INSERT INTO kv_entry(bucket, key, revision, deleted, at, value) VALUES(?, ?, ?, ?, ?, ?)',
          bucket,
          key,
          next,
          deleted,
          Date.now(),
          value,
        )
        database.run(
          'DELETE FROM kv_entry WHERE bucket = ?1 AND key = ?2 AND revision <= (SELECT revision FROM kv_entry WHERE bucket = ?1 AND key = ?2 ORDER BY revision DESC LIMIT 1 OFFSET ?3)',
          bucket,
          key,
          history,
        )
        return next
      })
      look()
      return revision
    }
    return {
      get: async (key) => {
        const row = newest(key)
        return row && entry(row)
      },
      put: (key, value, expected) => change(key, value, 0, expected),
      delete: (key, expected) => change(key, new Uint8Array(0), 1, expected),
      keys: async (pattern) => {
        const fits = matcher(pattern)
        return database
          .all<{ key: string }>(
            'SELECT key FROM kv_entry e WHERE bucket = ?1 AND at > ?2 AND deleted = 0 AND revision = (SELECT max(revision) FROM kv_entry WHERE bucket = ?1 AND key = e.key) ORDER BY key',
            bucket,
            alive(),
          )
          .map(({ key }) => key)
          .filter(fits)
      },
      history: async (key) =>
        database
          .all<Row>(`SELECT ${fields} FROM kv_entry WHERE bucket = ? AND key = ? AND at > ? ORDER BY revision`, bucket, key, alive())
          .map(entry),
      watch: async (pattern, listener, onReady) => {
        const fits = matcher(pattern)
        let at = 0
        const tell = (latestOnly: boolean): void => {
          const rows = database.all<Row>(
            `SELECT ${fields} FROM kv_entry e WHERE bucket = ?1 AND revision > ?2 AND at > ?3 ${latestOnly ? 'AND revision = (SELECT max(revision) FROM kv_entry WHERE bucket = ?1 AND key = e.key)' : ''} ORDER BY revision`,
            bucket,
            at,
            alive(),
          )
          if (rows.length === 0) return
          at = rows.at(-1)!.revision
          const entries = rows.filter(({ key }) => fits(key)).map(entry)
          if (entries.length > 0) listener(entries)
        }
        tell(true)
        onReady()
        const again = (): void => tell(false)
        watches.add(again)
        return {
          close: async () => {
            watches.delete(again)
          },
        }
      },
    }
  }
}

function entry({ key, revision, deleted, at, value }: Row): KvEntry {
  return { key, value, revision, operation: deleted === 1 ? 'delete' : 'put', at }
}
