import type { StoredView } from '../admin/admin.ts'
import type { StoredTopics } from '../admin/stored-topics.ts'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { isPattern, matcher } from '../topic/pattern.ts'
import { formatId, parseId } from './positions.ts'

/** Each stands in the id of every event. */
const mostStorages = 64
const pageSize = 200

/**
 * Reads a topic, or all that a pattern meets, in pages from where it stands. A storage that appears later is read from its
 * start. Order is that of each storage; between storages there is none.
 */
export class Reader {
  readonly #bus: Bus
  readonly #stored: StoredTopics
  readonly #topic: string
  readonly #matches: (name: string) => boolean
  readonly #at = new Map<string, string>()

  constructor(bus: Bus, stored: StoredTopics, topic: string) {
    this.#bus = bus
    this.#stored = stored
    this.#topic = topic
    this.#matches = matcher(topic)
  }

  /** Takes its place: `start`, `end`, or the id of an event. @throws BusError `invalid_argument`, `invalid_topic` */
  async begin(from: string): Promise<void> {
    const known = from === 'end' ? new Map<string, string>() : parseId(this.#topic, from)
    for (const storage of await this.#storages()) {
      const start = known.get(storage) ?? (from === 'end' ? 'end' : 'start')
      const page = await this.#browse(storage, start, 1)
      this.#at.set(storage, start === 'end' ? page.next : start)
    }
    // Not stored yet: whatever comes is new. A position of one that is gone must not be forgotten with it.
    for (const [storage, at] of known) if (!this.#at.has(storage)) this.#at.set(storage, at)
  }

  get id(): string {
    return formatId(this.#topic, this.#at)
  }

  /** One page of each storage; the place moves on with each message taken. */
  async *next(): AsyncGenerator<{ id: string; message: StoredView }> {
    for (const storage of await this.#storages()) {
      const page = await this.#browse(storage, this.#at.get(storage) ?? 'start', pageSize)
      for (const message of page.messages) {
        this.#at.set(storage, message.position)
        if (this.#matches(message.topic)) yield { id: this.id, message }
      }
      this.#at.set(storage, page.next)
    }
  }

  async #storages(): Promise<string[]> {
    const storages = await this.#stored.meeting(this.#topic)
    // The list may be a moment old: a name of its own may be there already. Not beside a definition that holds it: the engine
    // reads that one under either name, and each message would come twice.
    if (!isPattern(this.#topic) && storages.length === 0) storages.push(this.#topic)
    if (storages.length > mostStorages)
      throw new BusError(
        'unsupported',
        `'${this.#topic}' meets ${storages.length} topics; one stream follows ${mostStorages} at most, so give a narrower pattern`,
      )
    return storages
  }

  async #browse(storage: string, from: string, limit: number): Promise<{ messages: StoredView[]; next: string }> {
    try {
      return await this.#bus.admin.browse(storage, { from, limit })
    } catch (error) {
      // Deleted meanwhile: a new one of the name begins anew.
      if (error instanceof BusError && error.code === 'not_found') return { messages: [], next: 'start' }
      throw error
    }
  }
}
