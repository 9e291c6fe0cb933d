import { BusError } from '../../errors.ts'
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
      if (!overlaps(storage, this.#pattern) || this.#following.has(storage)) return
      topics.existing(storage).then(
        (route) => this.#follow(storage, route, 'start'),
        () => {},
      )
    })
  }

  async #follow(storage: StorageName, route: Route, from: 'start' | 'end'): Promise<void> {
    if (this.#following.has(storage) || isPrivate(storage)) return
    this.#following.add(storage)
    try {
      const places = await findOffsets(this.#parts.cluster, route.topic, route.readable, from)
      for (const [i, queue] of route.readable.entries()) void this.#tail(storage, route.topic, queue, places[i]!)
    } catch (error) {
      this.#following.delete(storage)
      throw error
    }
  }

  async #tail(storage: StorageName, topic: string, queue: Queue, from: number): Promise<void> {
    const what = `topic '${topic}'`
    for (let offset = from; !this.#closed; ) {
      try {
        const connection = await this.#pool.to(queue.broker.address)
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
    this.#pool.close()
  }
}
