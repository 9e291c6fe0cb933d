import { randomBytes } from 'node:crypto'
import type { Engine, Source } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import { Pauses } from '../ledger/pauses.ts'
import type { Events } from '../observe/events.ts'
import { isPrivate, privateTopic } from '../topic/name.ts'
import { covers, overlaps } from '../topic/pattern.ts'
import type { Choice } from '../topic/resolve.ts'
import { within } from '../within.ts'
import { Consumer, type ConsumerParts } from './consumer.ts'

const refusedAgainMs = 10_000

/** A subscription as its user holds it. */
export interface Subscription {
  /** What this member does now: state, messages in hand, progress, counts. */
  status(): SubscriptionStatus
  /** Drains: handlers finish until the deadline, the rest is given back. The group stays. Twice is one drain. */
  close(options?: { deadlineMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export type SubscriptionStatus = Consumer['status'] & {
  readonly topic: string
  readonly topics: readonly string[]
  readonly refused: readonly string[]
}

/**
 * Binds one consumer to its storages: the one a definition or name gives, or each that a pattern meets, as they appear;
 * and beside each the group's private topic, where its replays come in.
 */
export class GroupSubscription implements Subscription {
  readonly #consumer: Consumer
  readonly #choice: Choice
  readonly #engine: Engine
  readonly #group: string
  readonly #from: Source['from']
  readonly #pauses: Pauses
  readonly #events: Events
  readonly #storages = new Set<string>()
  readonly #paused = new Set<string>()
  /** Topics of the pattern that could not be joined, why, and the timer of the next try. */
  readonly #refused = new Map<string, { readonly why: string; readonly again: NodeJS.Timeout }>()
  readonly #stops: (() => void)[] = []
  readonly #drainMs: number
  readonly #onClose: () => void
  #adding: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  /** `drainMs`: how long a close that says nothing else lets handlers finish. */
  constructor(choice: Choice, parts: Omit<ConsumerParts, 'member'>, drainMs: number, onClose: () => void) {
    this.#drainMs = drainMs
    this.#choice = choice
    this.#engine = parts.engine
    this.#group = parts.group
    this.#from = parts.policy.from
    this.#events = parts.events
    this.#onClose = onClose
    this.#pauses = new Pauses(parts.ledger)
    this.#consumer = new Consumer({ ...parts, member: `${process.pid}-${randomBytes(4).toString('hex')}` })
  }

  start(): Promise<void> {
    this.#adding = this.#start()
    return this.#adding
  }

  async #start(): Promise<void> {
    const { storage, filter, definition } = this.#choice
    if (storage !== undefined) {
      await this.#engine.admin.declare(storage, definition?.retention)
      // Before the first message: a group that was paused before its members came handles none.
      if (await this.#pauses.has(storage, this.#group)) this.#setPaused(storage, true)
      this.#watchPause(storage)
      await this.#consumer.start(this.#sources(storage, filter, this.#from))
      return
    }
    const pattern = filter!
    const first: Source[] = []
    let started = false
    const found = (name: string): void => {
      if (isPrivate(name) || this.#storages.has(name) || !overlaps(pattern, name)) return
      // What appears later holds nothing that was there before us.
      const sources = this.#sources(name, covers(pattern, name) ? undefined : pattern, started ? 'earliest' : this.#from)
      this.#watchPause(name)
      if (!started) first.push(...sources)
      else this.#add(sources)
    }
    // Topics that exist are joined all at once: one by one, ten thousand take a minute.
    for (const { storage: name } of await this.#engine.admin.topics()) found(name)
    if (this.#closing) throw new BusError('closed', 'the subscription was closed before it had joined')
    this.#stops.push(this.#engine.admin.watchTopics(found))
    const beginning = [...first]
    started = true
    try {
      await this.#consumer.start(beginning)
    } catch (error) {
      if (toBusError(error).code !== 'forbidden') throw error
      await this.#startWithout(beginning)
    }
  }

  /** Topics that this user may not read keep none of the others from being joined: each alone, and those again later. */
  async #startWithout(sources: readonly Source[]): Promise<void> {
    await this.#consumer.start([])
    for (const own of Map.groupBy(sources, ({ lanes }) => lanes).values())
      for (const [i, source] of own.entries()) if (!(await this.#join(source, own.slice(i)))) break
  }

  #add(sources: readonly Source[]): void {
    this.#adding = this.#adding.then(async () => {
      // Replays follow the way their topic is shared: they are not joined without it.
      for (const [i, source] of sources.entries()) if (!(await this.#join(source, sources.slice(i)))) break
    })
    this.#adding.catch(() => {})
  }

  /** Until it is done: a topic left out would be one whose messages nobody gets. `rest`: it, and what is joined after it. */
  async #join(source: Source, rest: readonly Source[]): Promise<boolean> {
    for (let waitMs = 100; !this.#closing; waitMs = Math.min(5000, waitMs * 2)) {
      try {
        await this.#consumer.add(source)
        this.#refused.delete(source.storage)
        return true
      } catch (thrown) {
        const error = toBusError(thrown)
        if (!error.retryable) {
          if (!this.#refused.has(source.storage))
            this.#events.warn(`group '${this.#group}' could not join topic '${source.storage}'`, thrown)
          // Somebody may take away what is in the way, or give the permission.
          const again = setTimeout(() => this.#add(rest), refusedAgainMs).unref()
          this.#refused.set(source.storage, { why: error.message, again })
          return false
        }
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
    return false
  }

  #sources(storage: string, filter: string | undefined, from: Source['from']): Source[] {
    this.#storages.add(storage)
    return [
      { storage, filter, lanes: storage, from },
      { storage: privateTopic(storage, this.#group), filter: undefined, lanes: storage, from: 'earliest' },
    ]
  }

  #watchPause(storage: string): void {
    this.#stops.push(this.#pauses.watch(storage, this.#group, (paused) => this.#setPaused(storage, paused)))
  }

  /** One subscription has one credit: a pause of one topic stops all that a pattern meets. */
  #setPaused(storage: string, paused: boolean): void {
    if (paused) this.#paused.add(storage)
    else this.#paused.delete(storage)
    this.#consumer.pause(this.#paused.size > 0)
  }

  status(): SubscriptionStatus {
    return {
      topic: this.#choice.label,
      topics: [...this.#storages],
      refused: [...this.#refused.values()].map(({ why }) => why),
      ...this.#consumer.status,
    }
  }

  close(options: { deadlineMs?: number } = {}): Promise<void> {
    const deadlineMs = options.deadlineMs ?? this.#drainMs
    if (!Number.isFinite(deadlineMs) || deadlineMs < 0)
      throw new BusError('invalid_argument', `deadlineMs must not be negative, and is ${deadlineMs}`)
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  async #close(deadlineMs: number): Promise<void> {
    try {
      // One that is still joining joins first, unless that takes longer than handlers may: it then leaves when it has joined.
      const begun = performance.now()
      await within(
        deadlineMs,
        this.#adding.catch(() => {}),
      )
      for (const stop of this.#stops) stop()
      for (const { again } of this.#refused.values()) clearTimeout(again)
      await this.#consumer.close(Math.max(0, deadlineMs - (performance.now() - begun)))
    } finally {
      this.#onClose()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
