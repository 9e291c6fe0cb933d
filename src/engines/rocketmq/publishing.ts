import { randomBytes } from 'node:crypto'
import { BusError, toBusError } from '../../errors.ts'
import type { OnStored, Outgoing, PublishOutcome } from '../engine.ts'
import { tellStored } from '../stored.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import { Doubts } from './doubts.ts'
import { refused } from './failure.ts'
import type { Limits } from './limits.ts'
import { type Extra, encodeInBatch, propertiesOf, wireBody } from './message.ts'
import { physicalName } from './names.ts'
import { queueKey } from './offsets.ts'
import { answer, type Frame, request } from './protocol.ts'
import type { Topics } from './topics.ts'

/** Messages in one command, and their bytes; more would keep the first of them waiting. */
const mostInBatch = 500
const mostBatchBytes = 1024 * 1024
/** What a message takes in a batch beside its body and properties. */
const roomInBatch = 22
/** A broker that could not be reached gets no message that another can take, ms. */
const avoidMs = 3000
const usualPatienceMs = 25_000

interface Item {
  readonly index: number
  readonly unique: string
  readonly delayed: boolean
  readonly body: Uint8Array
  readonly properties: string
  readonly size: number
}

interface Bucket {
  readonly route: Route
  readonly queue: Queue
  readonly items: Item[]
}

/** What goes out: as much as there is for one queue in one command, delayed messages each alone. */
export class Publishing {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #limits: Limits
  readonly #group: string
  readonly #doubts: Doubts
  readonly #avoided = new Map<string, number>()
  #turn = Math.floor(Math.random() * 1024)
  #flying = 0
  #idle: (() => void)[] = []
  #closed = false

  constructor(cluster: Cluster, topics: Topics, limits: Limits) {
    this.#cluster = cluster
    this.#topics = topics
    this.#limits = limits
    this.#doubts = new Doubts(cluster)
    this.#group = physicalName(cluster.options.name ?? 'cozebus')
  }

  async publish(batch: readonly Outgoing[], stored?: OnStored): Promise<PublishOutcome[]> {
    if (this.#closed) throw new BusError('closed', 'the connection to RocketMQ is closed; connect again to publish')
    this.#flying++
    try {
      return await this.#publish(batch, undefined, stored)
    } finally {
      if (--this.#flying === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  /** Copies of what members give back, to the end of the connection. */
  forward(copies: readonly Outgoing[], extras: readonly Extra[]): Promise<PublishOutcome[]> {
    return this.#publish(copies, extras)
  }

  async #publish(batch: readonly Outgoing[], extras: readonly Extra[] | undefined, stored?: OnStored): Promise<PublishOutcome[]> {
    const outcomes = new Array<PublishOutcome>(batch.length)
    const routes = await this.#routesOf(batch)
    const buckets = new Map<Queue, Bucket>()
    const spread = new Map<Route, Queue>()
    const sending: Promise<void>[] = []
    const bornMs = Math.round(batch[0]?.at ?? 0)
    const send = async (part: Bucket): Promise<void> => {
      await this.#send(part, bornMs, outcomes)
      if (stored) tellStored(part.items, outcomes, stored)
    }
    for (let index = 0; index < batch.length; index++) {
      const message = batch[index]!
      const route = routes.get(message.storage)!
      if (route instanceof BusError) {
        outcomes[index] = { ok: false, error: route }
        continue
      }
      try {
        const queue = this.#queueOf(route, message.key, spread)
        const deliverAt = this.#deliverAt(message)
        const item = this.#item(index, message, bornMs, { ...extras?.[index], deliverAt })
        if (deliverAt !== undefined) sending.push(send({ route, queue, items: [item] }))
        else {
          const bucket = buckets.get(queue)
          if (bucket) bucket.items.push(item)
          else buckets.set(queue, { route, queue, items: [item] })
        }
      } catch (error) {
        outcomes[index] = { ok: false, error: toBusError(error) }
      }
    }
    for (const bucket of buckets.values()) for (const part of this.#parts(bucket)) sending.push(send(part))
    await Promise.all(sending)
    return outcomes
  }

  /** What is known costs nothing; the rest is asked for, or made. */
  async #routesOf(batch: readonly Outgoing[]): Promise<Map<string, Route | BusError>> {
    const found = new Map<string, Route | BusError>()
    for (const { storage, key } of batch) {
      let route = found.get(storage)
      try {
        route ??= this.#cluster.knownRoute(physicalName(storage)) ?? (await this.#topics.ensure(storage))
        if (key !== undefined && !(route instanceof BusError) && !this.#topics.keys.has(route)) await this.#topics.keys.find(route)
      } catch (error) {
        route = toBusError(error, 'engine_unavailable')
      }
      found.set(storage, route)
    }
    return found
  }

  /** A key is always in one queue, as Go's hash selector has it; the rest of one call is together in any. */
  #queueOf(route: Route, key: string | undefined, spread: Map<Route, Queue>): Queue {
    const { writable } = route
    if (writable.length === 0) throw new BusError('forbidden', `topic '${route.topic}' takes no messages: its queues are read-only`)
    if (key !== undefined) return this.#topics.keys.at(route, fnv1a(Buffer.from(key)))
    const chosen = spread.get(route)
    if (chosen) return chosen
    let queue = writable[this.#turn++ % writable.length]!
    const now = performance.now()
    for (let tried = 1; tried < writable.length && (this.#avoided.get(queue.broker.name) ?? 0) > now; tried++)
      queue = writable[this.#turn++ % writable.length]!
    spread.set(route, queue)
    return queue
  }

  /** A broker ends a delay at the last multiple of its precision before the time given: that must not be early. */
  #deliverAt({ deliverAt, name }: Outgoing): number | undefined {
    if (deliverAt === undefined || deliverAt <= Date.now()) return undefined
    const { precisionMs, maxDelayMs } = this.#limits
    if (deliverAt - Date.now() > maxDelayMs)
      throw new BusError('unsupported', `topic '${name}': the broker delays by ${maxDelayMs} ms at most (timerMaxDelaySec)`)
    return (Math.ceil(deliverAt / precisionMs) + 1) * precisionMs
  }

  #item(index: number, message: Outgoing, bornMs: number, extra: Extra): Item {
    const { body, name } = message
    if (body.byteLength > this.#limits.maxMessageBytes)
      throw new BusError(
        'message_too_large',
        `topic '${name}': ${body.byteLength} bytes are more than the ${this.#limits.maxMessageBytes} the broker takes (maxMessageSize)`,
      )
    const unique = uniqueId()
    const properties = propertiesOf(message, unique, bornMs, extra)
    return {
      index,
      unique,
      delayed: extra.deliverAt !== undefined,
      body: wireBody(body),
      properties,
      size: roomInBatch + body.byteLength + properties.length,
    }
  }

  #parts(bucket: Bucket): Bucket[] {
    const parts: Bucket[] = []
    let items: Item[] = []
    let bytes = 0
    for (const item of bucket.items) {
      if (items.length >= mostInBatch || (items.length > 0 && bytes + item.size > mostBatchBytes)) {
        parts.push({ ...bucket, items })
        items = []
        bytes = 0
      }
      items.push(item)
      bytes += item.size
    }
    parts.push({ ...bucket, items })
    return parts
  }

  async #send(bucket: Bucket, bornMs: number, outcomes: PublishOutcome[]): Promise<void> {
    const { route, queue, items } = bucket
    const from = this.#doubts.endOf(route.topic, queue)
    const sentAt = Date.now()
    let unanswered: BusError
    try {
      const frame = await this.#ask(bucket, bornMs)
      if (frame.code === answer.ok) {
        this.#stored(frame, bucket, outcomes)
        return
      }
      fail(items, this.#refusal(frame, route.topic, `topic '${route.topic}'`), outcomes)
      return
    } catch (thrown) {
      unanswered = toBusError(thrown, 'publish_unknown')
    }
    if (unanswered.code === 'publish_unknown') await this.#clear(bucket, bornMs, outcomes, from, sentAt, unanswered)
    else {
      if (unanswered.code === 'engine_unavailable') this.#avoided.set(queue.broker.name, performance.now() + avoidMs)
      fail(items, unanswered, outcomes)
    }
  }

  /** Whether it is stored; where it is not it goes once more, and again in doubt, until its time is over. */
  async #clear(
    bucket: Bucket,
    bornMs: number,
    outcomes: PublishOutcome[],
    from: number | undefined,
    sentAt: number,
    error: BusError,
  ): Promise<void> {
    const { route, queue, items } = bucket
    const until = performance.now() + (this.#cluster.options.publishTimeoutMs ?? usualPatienceMs)
    let left = items
    try {
      for (;;) {
        const { delayed } = items[0]!
        const doubt = { topic: route.topic, queue, delayed, from, sentAt, uniques: left.map(({ unique }) => unique) }
        const found = await this.#doubts.look(doubt, until, error)
        for (const { index, unique } of left) {
          const offset = found.get(unique)
          if (offset === undefined) continue
          outcomes[index] = { ok: true, position: delayed ? undefined : positionOf(queue, offset), duplicate: false }
        }
        left = left.filter(({ unique }) => !found.has(unique))
        if (left.length === 0) return
        const again = { ...bucket, items: left }
        try {
          const frame = await this.#ask(again, bornMs)
          if (frame.code === answer.ok) this.#stored(frame, again, outcomes)
          else fail(left, this.#refusal(frame, route.topic, `topic '${route.topic}'`), outcomes)
          return
        } catch (thrown) {
          // Not sent, or in doubt as before.
          if (performance.now() >= until) throw toBusError(thrown)
        }
      }
    } catch (thrown) {
      fail(left, toBusError(thrown, 'publish_unknown'), outcomes)
    }
  }

  /** Rejects with `publish_unknown` when it was sent and no answer came, with another code when it was not. */
  async #ask({ route, queue, items }: Bucket, bornMs: number): Promise<Frame> {
    const single = items.length === 1
    const fields = {
      a: this.#group,
      b: route.topic,
      c: 'TBW102',
      d: '4',
      e: String(queue.id),
      f: '0',
      g: String(bornMs),
      h: '0',
      i: single ? items[0]!.properties : 'WAIT\x01true\x02',
      j: '0',
      k: 'false',
      l: '0',
      m: String(!single),
      n: queue.broker.name,
    }
    const body = single ? asBuffer(items[0]!.body) : Buffer.concat(items.map((item) => encodeInBatch(item.body, item.properties)))
    const connection = await this.#cluster.connection(queue.broker)
    return connection.ask(single ? request.send : request.sendBatch, fields, `topic '${route.topic}'`, body)
  }

  #stored({ fields }: Frame, { route, queue, items }: Bucket, outcomes: PublishOutcome[]): void {
    const first = Number(fields['queueOffset'])
    // One that is delayed is not in its queue yet.
    const known = Number.isSafeInteger(first) && !items[0]!.delayed
    if (known) this.#doubts.stored(route.topic, queue, first + items.length)
    for (const [i, { index }] of items.entries())
      outcomes[index] = { ok: true, position: known ? positionOf(queue, first + i) : undefined, duplicate: false }
  }

  #refusal(frame: Frame, topic: string, what: string): BusError {
    if (frame.code !== answer.noTopic) return refused(frame, what)
    // It was deleted since it was looked at, or this broker has none of it: looked for anew, or made, it takes what is sent again.
    this.#cluster.forgetRoute(topic)
    return new BusError('engine_unavailable', refused(frame, what).message)
  }

  /** Takes nothing more; resolves once all that it took is answered. */
  async refuse(): Promise<void> {
    this.#closed = true
    if (this.#flying > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }
}

function fail(items: readonly Item[], error: BusError, outcomes: PublishOutcome[]): void {
  for (const { index } of items) outcomes[index] = { ok: false, error }
}

const positionOf = (queue: Queue, offset: number): string => `${queueKey(queue)}:${offset}`

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength)

/** https://github.com/apache/rocketmq-client-go/blob/v2.1.2/producer/selector.go: hash/fnv's New32a. */
export function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

const processPart = randomBytes(10).toString('hex').toUpperCase()
let count = 0

/** 32 digits as every client has them: of this process, and of this message in it. */
function uniqueId(): string {
  count = (count + 1) % 2 ** 48
  return processPart + count.toString(16).toUpperCase().padStart(12, '0')
}
