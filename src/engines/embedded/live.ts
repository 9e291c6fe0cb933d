import { BusError } from '../../errors.ts'
import type { Live, Stored } from '../engine.ts'
import type { Columns } from './columns.ts'
import type { Link } from './link.ts'
import { liveBytes } from './protocol.ts'
import { EmbeddedStored } from './subscription.ts'

/** Listeners without a group. */
export class EmbeddedLive implements Live {
  readonly #link: Link
  readonly #listeners = new Map<number, (batch: readonly Stored[]) => void>()
  #next = 1

  constructor(link: Link) {
    this.#link = link
  }

  async subscribe(pattern: string, listener: (batch: readonly Stored[]) => void, group?: string): Promise<{ close(): Promise<void> }> {
    if (group !== undefined)
      throw new BusError('unsupported', 'the embedded store keeps what groups read; a group that keeps nothing is none here')
    const id = this.#next++
    this.#listeners.set(id, listener)
    try {
      await this.#link.call('listen', id, pattern)
    } catch (error) {
      this.#listeners.delete(id)
      throw error
    }
    this.#link.hold()
    return {
      close: async () => {
        if (!this.#listeners.delete(id)) return
        this.#link.release()
        await this.#link.call('unlisten', id)
      },
    }
  }

  take(listener: number, columns: Columns): void {
    const { storages, count } = columns
    this.#link.heard(liveBytes(columns))
    this.#listeners.get(listener)?.(Array.from({ length: count }, (_, i) => new EmbeddedStored(columns, i, storages as string)))
  }
}
