import { BusError } from '../../errors.ts'
import { longestTimerMs } from '../../message/duration.ts'
import { newId } from '../../message/id.ts'
import { isPrivate } from '../../topic/name.ts'
import { isPattern, matcher, overlaps } from '../../topic/pattern.ts'
import type { Live, StorageName, Stored } from '../engine.ts'
import { Listeners } from '../listeners.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster } from './cluster.ts'
import { Consumer, type ConsumerOwner, kinds } from './consumer.ts'
import type { Come } from './message.ts'
import { type MessageId, wireId } from './protocol.ts'
import type { Topics } from './topics.ts'

/** Sent ahead; more is asked for when half of them have come. */
const window = 1000

export interface LiveParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly watch: TopicWatch
}

/** From the end on, by a subscription of each listener's own that ends with it. */
export class PulsarLive implements Live {
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
    if (group !== undefined) throw new BusError('unsupported', 'Pulsar stores all that is published: share it by a durable group')
    return this.#listeners.open(new Listening(this.#parts, pattern, listener, storage))
  }

  close(): Promise<void> {
    return this.#listeners.close()
  }
}

class Listening implements ConsumerOwner {
  readonly #parts: LiveParts
  readonly #pattern: string
  readonly #fits: (name: string) => boolean
  readonly #listener: (batch: readonly Stored[]) => void
  /** Where all that matches is stored, if that is one place. */
  readonly #storage: StorageName | undefined
  readonly #name = `cozebus-live-${newId()}`
  readonly #following = new Map<StorageName, Consumer[]>()
  readonly #timers = new Set<NodeJS.Timeout>()
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
    // What is named is there from now on, so that nothing of it is missed.
    const named = storage ?? (isPattern(this.#pattern) ? undefined : this.#pattern)
    if (named !== undefined) await this.#follow(named, 'latest')
    if (storage !== undefined) return
    for (const found of (await this.#parts.topics.all()).keys()) if (overlaps(found, this.#pattern)) await this.#follow(found, 'latest')
    if (this.#closed) return
    // One that cannot be read now is named again.
    this.#unwatch = this.#parts.watch.watch((found) => (overlaps(found, this.#pattern) ? this.#follow(found, 'earliest') : undefined))
  }

  async #follow(storage: StorageName, from: 'earliest' | 'latest'): Promise<void> {
    if (this.#closed || this.#following.has(storage) || isPrivate(storage)) return
    const consumers: Consumer[] = []
    this.#following.set(storage, consumers)
    const { topics, cluster } = this.#parts
    try {
      for (const topic of await topics.ensure(storage)) {
        const spec = { topic, storage, subscription: this.#name, kind: kinds.exclusive, name: this.#name, from, durable: false }
        const consumer = new Consumer(cluster, spec, this)
        consumers.push(consumer)
        await consumer.start()
      }
    } catch (error) {
      this.#following.delete(storage)
      await Promise.all(consumers.map((one) => one.close()))
      throw error
    }
    if (this.#closed) await Promise.all(consumers.map((one) => one.close()))
  }

  joined(consumer: Consumer): void {
    consumer.allow(window)
  }

  left(): void {}

  superseded(): void {}

  troubled(): void {}

  came(consumer: Consumer, id: MessageId, _count: number, messages: readonly Come[]): void {
    if (this.#closed) return
    consumer.tellAck([wireId(id)])
    if (consumer.permits < window / 2) consumer.allow(window - Math.max(0, consumer.permits))
    const now = Date.now()
    const fitting = messages.filter(({ stored }) => this.#fits(stored.name))
    const batch = fitting.filter(({ due }) => due <= now).map(({ stored }) => stored)
    if (batch.length > 0) this.#listener(batch)
    // A broker knows no delay where one consumer has all.
    for (const { stored, due } of fitting) if (due > now) this.#later(stored, due - now)
  }

  #later(stored: Stored, delayMs: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer)
        if (delayMs > longestTimerMs) this.#later(stored, delayMs - longestTimerMs)
        else this.#listener([stored])
      },
      Math.min(delayMs, longestTimerMs),
    ).unref()
    this.#timers.add(timer)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unwatch()
    for (const timer of this.#timers) clearTimeout(timer)
    await Promise.allSettled([...this.#following.values()].flatMap((consumers) => consumers.map((one) => one.close())))
  }
}
