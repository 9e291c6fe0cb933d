import type { EngineAdmin, GroupInfo, ReadFrom, Retention, TopicInfo } from '../engine.ts'
import type { Link } from './link.ts'

/** Topics and groups, by calls to the store's thread. */
export class EmbeddedAdmin implements EngineAdmin {
  readonly #link: Link
  readonly #watchers = new Set<(storage: string) => void>()
  /** What the watchers were told, for those that come later. */
  readonly #known = new Set<string>()

  constructor(link: Link) {
    this.#link = link
  }

  declare(storage: string, retention?: Retention): Promise<void> {
    return this.#link.call('declare', storage, retention)
  }

  topics(): Promise<TopicInfo[]> {
    return this.#link.call('topics')
  }

  watchTopics(listener: (storage: string) => void): () => void {
    this.#watchers.add(listener)
    if (this.#watchers.size === 1)
      this.#link.call('watchTopics', true).then(
        (storages) => this.appeared(storages),
        () => {},
      )
    else for (const storage of this.#known) queueMicrotask(() => this.#watchers.has(listener) && listener(storage))
    return () => {
      if (!this.#watchers.delete(listener) || this.#watchers.size > 0) return
      this.#known.clear()
      this.#link.call('watchTopics', false).catch(() => {})
    }
  }

  appeared(storages: readonly string[]): void {
    for (const storage of storages) {
      this.#known.add(storage)
      for (const watcher of this.#watchers) watcher(storage)
    }
  }

  groups(storage: string): Promise<GroupInfo[]> {
    return this.#link.call('groups', storage)
  }

  reset(storage: string, group: string, to: ReadFrom): Promise<void> {
    return this.#link.call('reset', storage, group, to)
  }

  deleteGroup(storage: string, group: string): Promise<void> {
    return this.#link.call('deleteGroup', storage, group)
  }

  async purge(storage: string, before?: string): Promise<number> {
    let total = 0
    let upTo: number | undefined
    for (;;) {
      // A chunk a call: nobody else waits while a million messages go.
      const chunk: { deleted: number; upTo: number } = await this.#link.call('purge', storage, before, upTo)
      if (chunk.deleted === 0) return total
      total += chunk.deleted
      upTo = chunk.upTo
    }
  }

  async deleteTopic(storage: string): Promise<void> {
    // Before anything goes.
    await this.#link.call('checkIdle', storage)
    // What is left for the one transaction is small then: nobody waits long, and the log does not grow by the whole topic.
    await this.purge(storage)
    await this.#link.call('deleteTopic', storage)
  }
}
