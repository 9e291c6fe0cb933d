import type { StatementSync } from 'node:sqlite'
import { BusError } from '../../../errors.ts'
import { matcher } from '../../../topic/pattern.ts'
import type { KvEntry, KvOptions } from '../../engine.ts'
import { blob } from './blob.ts'
import type { Database } from './database.ts'
import type { Outbox } from './outbox.ts'

/** How long superseded revisions stay, from when they are, for watchers of other processes that have not read them yet. */
const supersededMs = 60_000
const pageMost = 500
/** How many entries a sweep looks at: no turn is long. */
const sliceMost = 1000

interface Watch {
  readonly id: number
  readonly bucket: number
  readonly matches: (key: string) => boolean
  seen: number
}

interface Bucket {
  readonly history: number
  readonly ttlMs: number | undefined
}

type EntryRow = [key: string, revision: number, deleted: number, at: number, value: Uint8Array]

/** Buckets of keys and values, each change a row under the bucket's next revision. */
export class KeyValues {
  readonly #out: Outbox
  readonly #watches = new Map<number, Watch>()
  readonly #find: StatementSync
  readonly #make: StatementSync
  readonly #change: StatementSync
  readonly #options: StatementSync
  readonly #revise: StatementSync
  readonly #revision: StatementSync
  readonly #newest: StatementSync
  readonly #put: StatementSync
  readonly #after: StatementSync
  readonly #standing: StatementSync
  readonly #historyOf: StatementSync
  readonly #buckets: StatementSync
  readonly #expire: StatementSync
  readonly #trim: StatementSync
  readonly #written: StatementSync
  readonly #place: StatementSync
  readonly #setPlace: StatementSync

  constructor(db: Database, out: Outbox) {
    this.#out = out
    const columns = 'key, revision, deleted, at, value'
    this.#find = db.rows('SELECT id, history, ttl_ms FROM kv_bucket WHERE name=?')
    this.#make = db.prepare('INSERT INTO kv_bucket(name, history, ttl_ms) VALUES(?, ?, ?)')
    this.#change = db.prepare('UPDATE kv_bucket SET history=?, ttl_ms=? WHERE id=?')
    this.#options = db.rows('SELECT history, ttl_ms FROM kv_bucket WHERE id=?')
    this.#revise = db.rows('UPDATE kv_bucket SET revision=revision+1 WHERE id=? RETURNING revision')
    this.#revision = db.rows('SELECT revision FROM kv_bucket WHERE id=?')
    this.#newest = db.rows(`SELECT ${columns} FROM kv_entry WHERE bucket=? AND key=? ORDER BY revision DESC LIMIT 1`)
    this.#put = db.prepare('INSERT INTO kv_entry(bucket, key, revision, deleted, at, value) VALUES(?, ?, ?, ?, ?, ?)')
    this.#after = db.rows(`SELECT ${columns} FROM kv_entry WHERE bucket=? AND revision>? ORDER BY revision LIMIT ${pageMost}`)
    this.#standing = db.rows(
      `SELECT ${columns} FROM kv_entry WHERE n IN (SELECT max(n) FROM kv_entry WHERE bucket=? AND revision<=? GROUP BY key) AND at>? ORDER BY revision`,
    )
    this.#historyOf = db.rows(`SELECT ${columns} FROM kv_entry WHERE bucket=? AND key=? AND at>? ORDER BY revision DESC LIMIT ?`)
    this.#buckets = db.rows('SELECT id, history, ttl_ms FROM kv_bucket')
    // The oldest come first: where the first is too young, so are the others.
    this.#expire = db.prepare(
      `DELETE FROM kv_entry WHERE n IN (SELECT n FROM (SELECT n, at FROM kv_entry WHERE bucket=? ORDER BY revision LIMIT ${sliceMost}) WHERE at<=?)`,
    )
    this.#written = db.rows(`SELECT revision, key, at FROM kv_entry WHERE bucket=? AND revision>? ORDER BY revision LIMIT ${sliceMost}`)
    this.#trim = db.prepare(
      'DELETE FROM kv_entry WHERE bucket=?1 AND key=?2 AND revision<=(SELECT revision FROM kv_entry WHERE bucket=?1 AND key=?2 AND revision<=?3 ORDER BY revision DESC LIMIT 1 OFFSET ?4)',
    )
    this.#place = db.rows('SELECT value FROM store WHERE name=?')
    this.#setPlace = db.prepare('INSERT INTO store(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value=excluded.value')
  }

  open(name: string, options: KvOptions): number {
    const history = options.history ?? 1
    const ttlMs = options.ttlMs ?? null
    const found = this.#find.get(name) as unknown as [number, number, number | null] | undefined
    if (!found) return Number(this.#make.run(name, history, ttlMs).lastInsertRowid)
    // The last one to say something decides; a member that says nothing changes nothing.
    if ((options.history !== undefined && found[1] !== history) || (options.ttlMs !== undefined && found[2] !== ttlMs))
      this.#change.run(options.history ?? found[1], options.ttlMs ?? found[2], found[0])
    // What was kept as the history may be too much of it now.
    if (options.history !== undefined && found[1] > history) this.#setPlace.run(placeName(found[0]), 0)
    return found[0]
  }

  get(bucket: number, key: string, now: number): KvEntry | undefined {
    const row = this.#newest.get(bucket, key) as unknown as EntryRow | undefined
    return row && row[3] > this.#deadline(bucket, now) ? entry(row) : undefined
  }

  /** `value` undefined deletes. @throws BusError `conflict` */
  put(bucket: number, key: string, value: Uint8Array | undefined, expected: number | undefined, now: number): number {
    if (expected !== undefined) {
      const standing = this.get(bucket, key, now)
      // A deleted key counts as one that is not there.
      const fits = expected === 0 ? standing === undefined || standing.operation === 'delete' : standing?.revision === expected
      if (!fits) {
        const has = standing === undefined || standing.operation === 'delete' ? 'does not exist' : `stands at revision ${standing.revision}`
        throw new BusError(
          'conflict',
          `key '${key}' ${has}, not at ${expected === 0 ? 'none' : `revision ${expected}`}; read it again and decide anew`,
        )
      }
    }
    const [revision] = this.#revise.get(bucket) as unknown as [number]
    this.#put.run(bucket, key, revision, value ? 0 : 1, now, blob(value ?? new Uint8Array(0)))
    return revision
  }

  keys(bucket: number, pattern: string, now: number): string[] {
    const matches = matcher(pattern)
    return this.#stand(bucket, Number.MAX_SAFE_INTEGER, now)
      .filter((row) => row[2] === 0 && matches(row[0]))
      .map((row) => row[0])
      .sort()
  }

  history(bucket: number, key: string, now: number): KvEntry[] {
    const { history } = this.#bucket(bucket)
    return (this.#historyOf.all(bucket, key, this.#deadline(bucket, now), history) as unknown as EntryRow[]).reverse().map(entry)
  }

  watch(id: number, bucket: number, pattern: string, now: number): void {
    const matches = matcher(pattern)
    const seen = (this.#revision.get(bucket) as unknown as [number])[0]
    const rows = this.#stand(bucket, seen, now).filter((row) => row[2] === 0 && matches(row[0]))
    for (let i = 0; i < rows.length; i += pageMost)
      this.#out.push({ op: 'kv', watch: id, entries: rows.slice(i, i + pageMost).map(entry), ready: false })
    this.#out.push({ op: 'kv', watch: id, entries: [], ready: true })
    this.#watches.set(id, { id, bucket, matches, seen })
  }

  unwatch(id: number): void {
    this.#watches.delete(id)
  }

  /** Tells the watchers of changes since the last call, made here or elsewhere. */
  tell(_now: number): void {
    for (const watch of this.#watches.values()) {
      for (;;) {
        const rows = this.#after.all(watch.bucket, watch.seen) as unknown as EntryRow[]
        if (rows.length === 0) break
        watch.seen = rows.at(-1)![1]
        const entries = rows.filter((row) => watch.matches(row[0])).map(entry)
        if (entries.length > 0) this.#out.push({ op: 'kv', watch: watch.id, entries, ready: false })
        if (rows.length < pageMost) break
      }
    }
  }

  /** A slice of each bucket. Returns whether one of them has more. */
  sweep(now: number): boolean {
    let more = false
    for (const [id, history, ttlMs] of this.#buckets.all() as unknown as [number, number, number | null][]) {
      if (ttlMs !== null && Number(this.#expire.run(id, now - ttlMs).changes) === sliceMost) more = true
      if (this.#trimSlice(id, history, now)) more = true
    }
    return more
  }

  /**
   * Only a write supersedes anything, so each is looked at once, by whichever process sweeps: its place is kept in the store. A
   * walk over all that stands would hold a turn for 100 ms with 200 000 keys (measured), every time, in every process.
   */
  #trimSlice(bucket: number, history: number, now: number): boolean {
    const name = placeName(bucket)
    const from = (this.#place.get(name) as unknown as [number] | undefined)?.[0] ?? 0
    let place = from
    let looked = 0
    for (const [revision, key, at] of this.#written.all(bucket, from) as unknown as [number, string, number][]) {
      // A time ahead is that of a clock which was set back since; waiting for it could take years.
      if (at > now - supersededMs && at <= now) break
      this.#trim.run(bucket, key, revision, history)
      place = revision
      looked++
    }
    if (place !== from) this.#setPlace.run(name, place)
    return looked === sliceMost
  }

  #stand(bucket: number, upTo: number, now: number): EntryRow[] {
    return this.#standing.all(bucket, upTo, this.#deadline(bucket, now)) as unknown as EntryRow[]
  }

  #deadline(bucket: number, now: number): number {
    const { ttlMs } = this.#bucket(bucket)
    return ttlMs === undefined ? Number.NEGATIVE_INFINITY : now - ttlMs
  }

  #bucket(bucket: number): Bucket {
    const row = this.#options.get(bucket) as unknown as [number, number | null] | undefined
    if (!row) throw new BusError('not_found', 'the bucket is gone; open it again')
    return { history: row[0], ttlMs: row[1] ?? undefined }
  }
}

/** In table `store`: up to which revision of the bucket the writes were looked at. */
function placeName(bucket: number): string {
  return `kv-trimmed.${bucket}`
}

function entry([key, revision, deleted, at, value]: EntryRow): KvEntry {
  return { key, value, revision, operation: deleted ? 'delete' : 'put', at }
}
