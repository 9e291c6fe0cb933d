import type { StorageName } from './engine.ts'

const everyMs = 1000

type Listener = (storage: StorageName) => void | Promise<void>

/** Tells of topics as they appear, where the broker tells nobody: it is asked for all of them, by one timer for all who listen. */
export class TopicWatch {
  readonly #list: () => Promise<Iterable<StorageName>>
  readonly #listeners = new Map<Listener, Set<StorageName>>()
  #timer: NodeJS.Timeout | undefined
  #asking = false

  constructor(list: () => Promise<Iterable<StorageName>>) {
    this.#list = list
  }

  /** What a listener rejects is named to it again. */
  watch(listener: (storage: StorageName) => void | Promise<void>): () => void {
    const own: Listener = (storage) => listener(storage) // the same function may be handed in twice
    this.#listeners.set(own, new Set())
    this.#timer ??= setInterval(() => void this.#look(), everyMs).unref()
    void this.#look()
    return () => {
      this.#listeners.delete(own)
      if (this.#listeners.size === 0) this.end()
    }
  }

  gone(storage: StorageName): void {
    for (const seen of this.#listeners.values()) seen.delete(storage)
  }

  end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async #look(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    try {
      const storages = new Set(await this.#list())
      for (const [listener, seen] of [...this.#listeners]) {
        for (const storage of storages) {
          if (seen.has(storage) || !this.#listeners.has(listener)) continue
          seen.add(storage)
          // One that fails is told again, and keeps nobody else from being told.
          void (async () => listener(storage))().catch(() => seen.delete(storage))
        }
        for (const storage of seen) if (!storages.has(storage)) seen.delete(storage)
      }
    } catch {
      // The brokers are away: it is asked again.
    } finally {
      this.#asking = false
    }
  }
}
