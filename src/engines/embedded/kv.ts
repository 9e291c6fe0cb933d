import { BusError } from '../../errors.ts'
import type { KeyValueStore, KvBucket, KvEntry, KvOptions } from '../engine.ts'
import type { Link } from './link.ts'

const historyMost = 64

interface Watcher {
  readonly listener: (entries: readonly KvEntry[]) => void
  readonly onReady: () => void
}

/** Buckets of keys and values in the store. */
export class EmbeddedKv implements KeyValueStore {
  readonly #link: Link
  readonly #watchers = new Map<number, Watcher>()
  #next = 1

  constructor(link: Link) {
    this.#link = link
  }

  async open(bucket: string, options: KvOptions): Promise<KvBucket> {
    const { history } = options
    if (history !== undefined && (!Number.isInteger(history) || history < 1 || history > historyMost))
      throw new BusError('invalid_argument', `bucket '${bucket}': history must be a whole number from 1 to ${historyMost}, not ${history}`)
    const link = this.#link
    const id = await link.call('kvOpen', bucket, options)
    return {
      get: (key) => link.call('kvGet', id, key),
      put: (key, value, expected) => link.call('kvPut', id, key, value, expected),
      delete: (key, expected) => link.call('kvDelete', id, key, expected),
      keys: (pattern) => link.call('kvKeys', id, pattern),
      history: (key) => link.call('kvHistory', id, key),
      watch: (pattern, listener, onReady) => this.#watch(id, pattern, { listener, onReady }),
    }
  }

  async #watch(bucket: number, pattern: string, watcher: Watcher): Promise<{ close(): Promise<void> }> {
    const id = this.#next++
    this.#watchers.set(id, watcher)
    this.#link.hold()
    const close = async (): Promise<void> => {
      if (!this.#watchers.delete(id)) return
      this.#link.release()
      await this.#link.call('kvUnwatch', id)
    }
    try {
      await this.#link.call('kvWatch', id, bucket, pattern)
    } catch (error) {
      await close().catch(() => {})
      throw error
    }
    return { close }
  }

  take(watch: number, entries: readonly KvEntry[], ready: boolean): void {
    const watcher = this.#watchers.get(watch)
    if (!watcher) return
    if (entries.length > 0) watcher.listener(entries)
    if (ready) watcher.onReady()
  }
}
