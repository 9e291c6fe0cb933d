import { BusError, toBusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import { isPattern, matcher, overlaps } from '../../topic/pattern.ts'
import type { Live, StorageName, Stored } from '../engine.ts'
import { Listeners } from '../listeners.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import type { Pool } from './connection.ts'
import { storedOf } from './message.ts'
import { findOffsets, queueKey } from './offsets.ts'
import { request } from './protocol.ts'
import { pulled, pullFields } from './pulling.ts'
import type { Topics } from './topics.ts'

/** How long a broker waits for something to come, ms. */
const waitMs = 10_000
/** It looks at those who wait every five seconds. */
const answerMs = 12_000
const againMs = 200
/** How often it is looked whether a topic has other queues, ms. */
const lookAroundMs = 5000

export interface LiveParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly watch: TopicWatch
}

/** From the end on, without a group: every listener reads for itself. */
export class RocketmqLive implements Live {
  readonly #parts: LiveParts
  readonly #listeners = new Listeners()

  constructor(parts: LiveParts) {
    this.#parts = parts
  }

  async subscribe(pattern: string, listener: (batch: readonly Stored[]) => void, group?: string): Promise<{ close(): Promise<void> }> {
    if (group !== undefined) throw new BusError('unsupported', 'RocketMQ stores all that is published: share it by a durable group')
    return this.#listeners.open(new Listening(this.#parts, pattern, listener))
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
  readonly #pool: Pool
  readonly #following = new Set<StorageName>()
  readonly #timers: NodeJS.Timeout[] = []
  #unwatch = (): void => {}
  #closed = false

  constructor({ cluster, ...rest }: LiveParts, pattern: string, listener: (batch: readonly Stored[]) => void) {
    this.#parts = { cluster, ...rest }
    this.#pattern = pattern
    this.#fits = matcher(pattern)
    this.#listener = listener
    this.#pool = cluster.newPool()
  }

  async start(): Promise<void> {
    const { topics, watch } = this.#parts
    // One that is named is there from now on, so that nothing is missed of it.
    if (!isPattern(this.#pattern)) await this.#follow(this.#pattern, await topics.ensure(this.#pattern), 'end')
    for (const storage of (await topics.all()).keys())
      if (overlaps(storage, this.#pattern)) await this.#follow(storage, await topics.existing(storage), 'end')
    if (this.#closed) return
    this.#unwatch = watch.watch((storage) => {
      if (overlaps(storage, this.#pattern) && !this.#following.has(storage)) void this.#followNew(storage)
    })
  }

  /** It is offered once: what is away when it appears is asked again until it is there. */
  async #followNew(storage: StorageName): Promise<void> {
    while (!this.#closed && !this.#following.has(storage)) {
      try {
        await this.#follow(storage, await this.#parts.topics.existing(storage), 'start')
        return
      } catch (error) {
        if (toBusError(error, 'engine_unavailable').code === 'not_found') return
        await new Promise((resolve) => setTimeout(resolve, againMs))
      }
    }
  }

  async #follow(storage: StorageName, route: Route, from: 'start' | 'end'): Promise<void> {
    if (this.#following.has(storage) || isPrivate(storage)) return
    this.#following.add(storage)
    try {
      const places = await findOffsets(this.#parts.cluster, route.topic, route.readable, from)
      const tailed = new Map(route.readable.map((queue) => [queueKey(queue), queue]))
      for (const [i, queue] of route.readable.entries()) void this.#tail(storage, route.topic, queue, tailed, places[i]!)
      this.#timers.push(setInterval(() => void this.#lookAround(storage, route.topic, tailed), lookAroundMs).unref())
    } catch (error) {
      this.#following.delete(storage)
      throw error
    }
  }

  /** Queues and brokers that came with the topic since, and addresses that changed. */
  async #lookAround(storage: StorageName, topic: string, tailed: Map<string, Queue>): Promise<void> {
    const route = await this.#parts.cluster.route(topic).catch(() => undefined)
    for (const queue of route?.readable ?? []) {
      const isNew = !tailed.has(queueKey(queue))
      tailed.set(queueKey(queue), queue)
      if (isNew) void this.#tail(storage, topic, queue, tailed, 0)
    }
  }

  /** `tailed`: each queue as it is known now. */
  async #tail(storage: StorageName, topic: string, queue: Queue, tailed: ReadonlyMap<string, Queue>, from: number): Promise<void> {
    const what = `topic '${topic}'`
    for (let offset = from; !this.#closed; ) {
      try {
        const connection = await this.#pool.to((tailed.get(queueKey(queue)) ?? queue).broker.address)
        const fields = pullFields(topic, queue.id, offset, waitMs)
        const { code, fields: told, body, remark } = await connection.ask(request.pull, fields, what, undefined, waitMs + answerMs)
        if (this.#closed) return
        const { messages, next } = pulled(code, told, body, remark, offset, what)
        offset = next
        const batch = messages
          .map((message) => storedOf(message, storage, `${queueKey(queue)}:${message.offset}`))
          .filter(({ name }) => this.#fits(name))
        if (batch.length > 0) this.#listener(batch)
      } catch {
        // It is looked again; health tells of a broker that is away.
        await new Promise((resolve) => setTimeout(resolve, againMs))
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unwatch()
    for (const timer of this.#timers) clearInterval(timer)
    this.#pool.close()
  }
}
