import type { StorageName } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { type NameRecord, recordTopic } from './name-record.ts'
import { isEphemeral, type Names } from './names.ts'
import { topicsOf } from './stats.ts'

const lookMs = 1000

/** Storage names as they appear: those of this process at once, those of others as nsqd or nsqlookupd lists them. */
export class TopicWatch {
  readonly #cluster: Cluster
  readonly #names: Names
  readonly #record: NameRecord
  readonly #seen = new Set<StorageName>()
  readonly #listeners = new Set<(storage: StorageName) => void>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(cluster: Cluster, names: Names, record: NameRecord) {
    this.#record = record
    this.#cluster = cluster
    this.#names = names
  }

  saw = (storage: StorageName): void => {
    if (this.#seen.has(storage)) return
    this.#seen.add(storage)
    for (const listener of [...this.#listeners]) queueMicrotask(() => this.#listeners.has(listener) && listener(storage))
  }

  /** It may come again. */
  gone(storage: StorageName): void {
    this.#seen.delete(storage)
  }

  watch(listener: (storage: StorageName) => void): () => void {
    const own = (storage: StorageName): void => listener(storage) // the same function may be handed in twice
    for (const storage of this.#seen) queueMicrotask(() => this.#listeners.has(own) && own(storage))
    this.#listeners.add(own)
    if (this.#listeners.size === 1) void this.#look()
    return () => {
      this.#listeners.delete(own)
      if (this.#listeners.size === 0) clearTimeout(this.#timer)
    }
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer)
    try {
      const topics = (await this.#topics()).filter((topic) => !isEphemeral(topic) && topic !== recordTopic)
      await this.#record.know(topics)
      for (const topic of topics) this.saw(this.#names.original(topic))
    } catch {
      // It is looked again; health tells of an nsqd that is away.
    }
    if (this.#closed || this.#listeners.size === 0) return
    this.#timer = setTimeout(() => void this.#look(), lookMs)
    this.#timer.unref()
  }

  #topics(): Promise<string[]> {
    return this.#cluster.lookup?.topics() ?? topicsOf(this.#cluster)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#listeners.clear()
  }
}
