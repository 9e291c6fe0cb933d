import { BusError, toBusError } from '../../errors.ts'
import type { OnStored, Outgoing, PublishOutcome, StorageName } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { encodeMessage } from './message.ts'
import { type Item, Producer } from './producer.ts'
import type { Topics } from './topics.ts'

/** What goes out: each message an entry of its own, so that each is acknowledged, delayed and counted by itself. */
export class Publishing {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #maxBytes: number
  readonly #producers = new Map<string, Producer>()
  #turn = Math.floor(Math.random() * 1024)
  #flying = 0
  #idle: (() => void)[] = []
  #closed = false
  readonly #timer: NodeJS.Timeout

  /** `idleMs`: so long a producer may do nothing before it is closed. */
  constructor(cluster: Cluster, topics: Topics, maxBytes: number, idleMs = 5 * 60_000) {
    this.#cluster = cluster
    this.#topics = topics
    this.#maxBytes = maxBytes
    this.#timer = setInterval(() => this.#closeIdle(performance.now() - idleMs), idleMs / 5).unref()
  }

  async publish(batch: readonly Outgoing[], stored?: OnStored): Promise<PublishOutcome[]> {
    if (this.#closed) throw new BusError('closed', 'the connection to Pulsar is closed; connect again to publish')
    this.#flying++
    try {
      return await this.#publish(batch, stored)
    } finally {
      if (--this.#flying === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  async #publish(batch: readonly Outgoing[], stored: OnStored | undefined): Promise<PublishOutcome[]> {
    const places = new Map<StorageName, readonly string[] | BusError>()
    for (const { storage } of batch)
      if (!places.has(storage))
        places.set(
          storage,
          this.#topics.known(storage) ?? (await this.#topics.ensure(storage).catch((error) => toBusError(error, 'engine_unavailable'))),
        )
    const outcomes = new Array<PublishOutcome>(batch.length)
    await new Promise<void>((resolve) => {
      let left = batch.length
      if (left === 0) resolve()
      for (let i = 0; i < batch.length; i++) {
        const message = batch[i]!
        const done: Item['done'] = (outcome) => {
          outcomes[i] = outcome
          if (outcome.ok) stored?.(i, outcome)
          if (--left === 0) resolve()
        }
        const parts = places.get(message.storage)!
        if (parts instanceof BusError) done({ ok: false, error: parts })
        else this.#send(message, parts, done)
      }
    })
    for (const [i, outcome] of outcomes.entries())
      if (!outcome.ok && outcome.error.code === 'not_found') this.#topics.forget(batch[i]!.storage)
    return outcomes
  }

  #send(message: Outgoing, parts: readonly string[], done: Item['done']): void {
    const { body, name, key } = message
    if (body.byteLength > this.#maxBytes) {
      done({
        ok: false,
        error: new BusError(
          'message_too_large',
          `topic '${name}': ${body.byteLength} bytes are more than the ${this.#maxBytes} the broker takes (maxMessageSize)`,
        ),
      })
      return
    }
    const { metadata, payload } = encodeMessage(message, this.#cluster.options.compression ?? 'none')
    const topic = parts.length === 1 ? parts[0]! : parts[key === undefined ? this.#turn++ % parts.length : javaHash(key) % parts.length]!
    this.#producer(topic).send({ metadata, payload, done })
  }

  #producer(topic: string): Producer {
    let producer = this.#producers.get(topic)
    if (!producer) {
      producer = new Producer(this.#cluster, topic)
      this.#producers.set(topic, producer)
    }
    return producer
  }

  /** Topics may be many, and most of them rarely published to. */
  #closeIdle(then: number): void {
    for (const [topic, producer] of this.#producers) {
      if (!producer.idleSince(then)) continue
      this.#producers.delete(topic)
      producer.close()
    }
  }

  /** Before its topic is deleted. */
  drop(topic: string): void {
    const producer = this.#producers.get(topic)
    if (!producer?.idle) return
    this.#producers.delete(topic)
    producer.close()
  }

  /** Takes nothing more; resolves once all that it took is answered. */
  async refuse(): Promise<void> {
    this.#closed = true
    if (this.#flying > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  close(): void {
    clearInterval(this.#timer)
    for (const producer of this.#producers.values()) producer.close()
  }
}

/** As pulsar-client-go routes by default: over the bytes, unsigned. Java's own masks the sign instead, which is the same for 2, 4, 8 … partitions. */
export function javaHash(key: string): number {
  let hash = 0
  for (const byte of Buffer.from(key)) hash = (Math.imul(31, hash) + byte) | 0
  return hash >>> 0
}
