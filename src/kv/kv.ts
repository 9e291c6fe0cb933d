import type { KvBucket, KvEntry } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import { jsonCodec } from '../message/codec.ts'
import { checkName, checkPattern } from '../topic/name.ts'

export interface Entry<Value = any> {
  readonly key: string
  /** Undefined for a deletion. */
  readonly value: Value | undefined
  readonly revision: number
  readonly operation: 'put' | 'delete'
  readonly at: Date
}

/** A bucket of keys and JSON values, shared by everyone on the same engine. */
export class Kv<Value = any> {
  readonly #bucket: KvBucket
  readonly #watches = new Set<() => void>()

  constructor(bucket: KvBucket) {
    this.#bucket = bucket
  }

  /** Undefined for a key that is not there or was deleted. */
  async get(key: string): Promise<Value | undefined> {
    return (await this.entry(key))?.value
  }

  /** The value with its revision; undefined where there is none. */
  async entry(key: string): Promise<Entry<Value> | undefined> {
    checkName(key)
    const found = await this.#bucket.get(key)
    return found && found.operation === 'put' ? view(found) : undefined
  }

  /** Resolves to the new revision. */
  async put(key: string, value: Value): Promise<number> {
    checkName(key)
    return this.#bucket.put(key, encode(value))
  }

  /** @throws BusError `conflict` when the key exists */
  async create(key: string, value: Value): Promise<number> {
    checkName(key)
    return this.#bucket.put(key, encode(value), 0)
  }

  /** @throws BusError `conflict` when the key does not stand at that revision */
  async update(key: string, value: Value, revision: number): Promise<number> {
    checkName(key)
    if (!Number.isInteger(revision) || revision < 1)
      throw new BusError('invalid_argument', `revision must be a whole number from 1, not ${revision}; use create for a new key`)
    return this.#bucket.put(key, encode(value), revision)
  }

  async delete(key: string, revision?: number): Promise<number> {
    checkName(key)
    return this.#bucket.delete(key, revision)
  }

  async keys(pattern = '>'): Promise<string[]> {
    checkPattern(pattern)
    return this.#bucket.keys(pattern)
  }

  /** The revisions of a key that are kept, oldest first. */
  async history(key: string): Promise<Entry<Value>[]> {
    checkName(key)
    return (await this.#bucket.history(key)).map(view<Value>)
  }

  /** What stands now, then each change, until the loop is left, the signal aborts or the bus closes. */
  async *watch(pattern = '>', options: { signal?: AbortSignal } = {}): AsyncGenerator<Entry<Value>, void, void> {
    checkPattern(pattern)
    const queue: KvEntry[] = []
    let wake: () => void = () => {}
    let ended = options.signal?.aborted ?? false
    const end = (): void => {
      ended = true
      wake()
    }
    options.signal?.addEventListener('abort', end, { once: true })
    this.#watches.add(end)
    const handle = await this.#bucket.watch(
      pattern,
      (entries) => {
        queue.push(...entries)
        wake()
      },
      () => {},
    )
    try {
      while (!ended) {
        const entry = queue.shift()
        if (entry) yield view(entry)
        else
          await new Promise<void>((resolve) => {
            wake = resolve
          })
      }
    } finally {
      this.#watches.delete(end)
      options.signal?.removeEventListener('abort', end)
      await handle.close()
    }
  }

  /** Ends all watches; the bus calls it. */
  close(): void {
    for (const end of this.#watches) end()
  }
}

/** @throws BusError `invalid_message` for bytes too, which `get` could not read: values are JSON */
function encode(value: unknown): Uint8Array {
  if (value instanceof Uint8Array)
    throw new BusError('invalid_message', 'a value is JSON, not bytes; encode them as text first, as base64 for example')
  return jsonCodec.encode(value)
}

function view<Value>(entry: KvEntry): Entry<Value> {
  return {
    key: entry.key,
    value: entry.operation === 'delete' ? undefined : (jsonCodec.decode(entry.value) as Value),
    revision: entry.revision,
    operation: entry.operation,
    at: new Date(entry.at),
  }
}
