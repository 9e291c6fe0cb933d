import { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import { isPrivate } from '../../topic/name.ts'
import { isPattern, matcher, overlaps } from '../../topic/pattern.ts'
import type { Live, StorageName, Stored } from '../engine.ts'
import { Listeners } from '../listeners.ts'
import type { Cluster } from './cluster.ts'
import { NsqDelivery } from './delivery.ts'
import { ephemeral, type Names } from './names.ts'
import { fin, type WireMessage } from './protocol.ts'
import type { Session } from './session.ts'
import { SourceReader } from './source-reader.ts'
import type { TopicWatch } from './topic-watch.ts'

const leaseMs = 30_000
/** In flight at once; each is finished as it comes. */
const window = 200

export interface LiveParts {
  readonly cluster: Cluster
  readonly names: Names
  readonly watch: TopicWatch
  readonly isRaw: (storage: string) => boolean
}

/** A channel of its own for each listener, gone with it. */
export class NsqLive implements Live {
  readonly #parts: LiveParts
  readonly #listeners = new Listeners()

  constructor(parts: LiveParts) {
    this.#parts = parts
  }

  async subscribe(
    pattern: string,
    listener: (batch: readonly Stored[]) => void,
    group?: string,
    storage?: StorageName,
  ): Promise<{ close(): Promise<void> }> {
    if (group !== undefined) throw new BusError('unsupported', 'NSQ stores all that is published; subscribe with a group instead')
    return this.#listeners.open(new Listening(this.#parts, pattern, listener, storage))
  }

  close(): Promise<void> {
    return this.#listeners.close()
  }
}

class Listening {
  readonly #parts: LiveParts
  readonly #pattern: string
  readonly #fits: (name: string) => boolean
  readonly #listener: (batch: readonly Stored[]) => void
  /** Where all that matches is stored, if that is one place. */
  readonly #storage: StorageName | undefined
  readonly #channel = ephemeral(`live-${newId()}`)
  readonly #readers = new Map<StorageName, SourceReader>()
  /** By nsqd's clock: whoever reads a topic first gets what waits there. What came in this very millisecond came before. */
  readonly #sinceNs = BigInt(Date.now() + 1) * 1_000_000n
  #unwatch = (): void => {}
  #closed = false

  constructor(parts: LiveParts, pattern: string, listener: (batch: readonly Stored[]) => void, storage: StorageName | undefined) {
    this.#parts = parts
    this.#pattern = pattern
    this.#fits = matcher(pattern)
    this.#listener = listener
    this.#storage = storage
  }

  async start(): Promise<void> {
    const storage = this.#storage
    if (storage !== undefined) return this.#read(storage)
    if (!isPattern(this.#pattern)) await this.#read(this.#pattern)
    if (this.#closed) return
    this.#unwatch = this.#parts.watch.watch((found) => {
      // What cannot be read now is read when its nsqd is back.
      if (!isPrivate(found) && overlaps(found, this.#pattern)) this.#read(found).catch(() => {})
    })
  }

  async #read(storage: StorageName): Promise<void> {
    if (this.#closed || this.#readers.has(storage)) return
    const { cluster, names, isRaw } = this.#parts
    const raw = isRaw(storage)
    const reader = new SourceReader(cluster, names.physical(storage), this.#channel, leaseMs, {
      joined: (session) => session.allow(window),
      left: () => {},
      refused: () => {},
      message: (session, message) => this.#take(session, message, storage, raw),
    })
    this.#readers.set(storage, reader)
    await reader.start()
  }

  #take(session: Session, message: WireMessage, storage: StorageName, raw: boolean): void {
    session.connection.send(fin(message.id))
    if (this.#closed || message.timestampNs < this.#sinceNs) return
    const { name, id, key, headers, body, at, position } = new NsqDelivery(message, storage, raw, session, leaseMs, performance.now())
    if (this.#fits(name)) this.#listener([{ storage, name, id, key, headers, body, at, position }])
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unwatch()
    await Promise.allSettled([...this.#readers.values()].map((reader) => reader.stop()))
  }
}
