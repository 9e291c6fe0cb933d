import type { Engine, GroupInfo, ReadFrom, Stored, TopicInfo } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import { AttemptBook } from '../ledger/attempts.ts'
import { DeadLetters } from '../ledger/dead-letters.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { Pauses } from '../ledger/pauses.ts'
import { jsonCodec, saysJson } from '../message/codec.ts'
import type { Headers } from '../message/headers.ts'
import { visibleHeaders } from '../message/wire.ts'
import { checkGroup, isPrivate, privateTopic } from '../topic/name.ts'
import { type ReadTopic, resolveChoice } from '../topic/resolve.ts'
import { DeadLetterDesk } from './dead-letter-desk.ts'

export interface GroupView extends GroupInfo {
  readonly deadLetters: number
  readonly paused: boolean
}

/** A stored message, as browsing shows it. */
export interface StoredView {
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  readonly headers: Headers
  readonly bytes: Uint8Array
  /** Decoded where it is JSON, else the bytes. */
  readonly body: unknown
  readonly publishedAt: Date
  readonly position: string
}

/** Looks into topics and groups, and moves them. */
export class Admin {
  readonly #engine: Engine
  readonly #ledger: Ledger
  readonly #pauses: Pauses

  constructor(engine: Engine, ledger: Ledger) {
    this.#engine = engine
    this.#ledger = ledger
    this.#pauses = new Pauses(ledger)
  }

  /** Makes a topic where it is missing, so that it is there before anybody publishes or subscribes. */
  async declare(topic: ReadTopic): Promise<void> {
    await this.#engine.admin.declare(storageOf(topic), resolveChoice(topic).definition?.retention)
  }

  /** Every topic, in the order of names; those of the bus itself are left out. */
  async topics(): Promise<TopicInfo[]> {
    return (await this.#engine.admin.topics()).filter(({ storage }) => !isPrivate(storage)).sort((a, b) => (a.storage < b.storage ? -1 : 1))
  }

  /** Calls with the name of each topic that there is, and of each new one. Returns the way to stop. */
  watch(listener: (storage: string) => void): () => void {
    return this.#engine.admin.watchTopics((storage) => {
      if (!isPrivate(storage)) listener(storage)
    })
  }

  async groups(topic: ReadTopic): Promise<GroupView[]> {
    const storage = storageOf(topic)
    const groups = await this.#engine.admin.groups(storage)
    return Promise.all(
      groups.map(async (group) => ({
        ...group,
        lag: group.lag + (await this.#replays(storage, group.group)),
        deadLetters: await new DeadLetters(this.#ledger, storage, group.group).count(),
        paused: await this.#pauses.has(storage, group.group),
      })),
    )
  }

  /** Messages the group has not settled. @throws BusError `not_found` */
  async lag(topic: ReadTopic, group: string): Promise<number> {
    return (await this.group(topic, group)).lag
  }

  /** @throws BusError `not_found` */
  async group(topic: ReadTopic, group: string): Promise<GroupView> {
    const found = (await this.groups(topic)).find((info) => info.group === group)
    if (!found) throw new BusError('not_found', `topic '${storageOf(topic)}' has no group '${group}'`)
    return found
  }

  async #replays(storage: string, group: string): Promise<number> {
    try {
      return (await this.#engine.admin.groups(privateTopic(storage, group))).reduce((sum, info) => sum + info.lag, 0)
    } catch {
      return 0 // a group that never had a replay has no private topic
    }
  }

  /** Reads without a group; the next page begins at `next`. @throws BusError `unsupported` where the engine keeps no history */
  async browse(
    topic: ReadTopic,
    options: { from?: 'start' | 'end' | Date | string; limit?: number } = {},
  ): Promise<{ messages: StoredView[]; next: string }> {
    const from = options.from ?? 'start'
    const page = await this.#engine.read(storageOf(topic), from instanceof Date ? { timeMs: from.getTime() } : from, options.limit ?? 50)
    return { messages: page.messages.map(view), next: page.next }
  }

  async pause(topic: ReadTopic, group: string): Promise<void> {
    checkGroup(group)
    await this.#pauses.set(storageOf(topic), group, true)
  }

  async resume(topic: ReadTopic, group: string): Promise<void> {
    checkGroup(group)
    await this.#pauses.set(storageOf(topic), group, false)
  }

  /** Moves a group that has no members. @throws BusError `conflict`, `not_found` */
  async reset(topic: ReadTopic, group: string, to: { to: 'earliest' | 'new' | Date | string }): Promise<void> {
    const target: ReadFrom =
      to.to instanceof Date ? { timeMs: to.to.getTime() } : to.to === 'earliest' ? 'start' : to.to === 'new' ? 'end' : to.to
    await this.#engine.admin.reset(storageOf(topic), group, target)
  }

  /** With its replays, dead letters and pause. @throws BusError `conflict` while it has members, `not_found` */
  async deleteGroup(topic: ReadTopic, group: string): Promise<void> {
    checkGroup(group)
    const storage = storageOf(topic)
    await this.#engine.admin.deleteGroup(storage, group)
    await this.#forget(storage, group)
  }

  /** What the ledger and the private topic hold of a group that is gone. */
  async #forget(storage: string, group: string): Promise<void> {
    await this.#engine.admin.deleteTopic(privateTopic(storage, group)).catch((error) => {
      if (toBusError(error).code !== 'not_found') throw error
    })
    await new DeadLetterDesk(this.#engine, this.#ledger, storage, group).discard({})
    await new AttemptBook(this.#ledger, group).clear(storage)
    await this.#pauses.set(storage, group, false)
  }

  /** With its groups, and all that is kept of them. @throws BusError `conflict` while one of them has members, `not_found` */
  async deleteTopic(topic: ReadTopic): Promise<void> {
    const storage = storageOf(topic)
    const groups = await this.#engine.admin.groups(storage)
    await this.#engine.admin.deleteTopic(storage)
    for (const { group } of groups) await this.#forget(storage, group)
  }

  /** Deletes stored messages, whoever still wanted them; resolves to how many. */
  purge(topic: ReadTopic, options: { before?: string } = {}): Promise<number> {
    return this.#engine.admin.purge(storageOf(topic), options.before)
  }

  deadLetters(topic: ReadTopic, group: string): DeadLetterDesk {
    checkGroup(group)
    return new DeadLetterDesk(this.#engine, this.#ledger, storageOf(topic), group)
  }
}

function storageOf(topic: ReadTopic): string {
  // A pattern names a storage here: that of a definition, as `topics` lists it.
  const choice = resolveChoice(topic)
  return choice.storage ?? choice.filter!
}

function view(stored: Stored): StoredView {
  let body: unknown = stored.body
  if (saysJson(stored.headers)) {
    try {
      body = jsonCodec.decode(stored.body)
    } catch {
      // Not JSON: the bytes are the body.
    }
  }
  return {
    id: stored.id,
    topic: stored.name,
    key: stored.key,
    headers: visibleHeaders(stored.headers),
    bytes: stored.body,
    body,
    publishedAt: new Date(stored.at),
    position: stored.position,
  }
}
