import { BusError, toBusError } from '../../errors.ts'
import { wire } from '../../message/wire.ts'
import { isPrivate } from '../../topic/name.ts'
import { within } from '../../within.ts'
import type { OnStored, Outgoing, PublishOutcome } from '../engine.ts'
import { tellStored } from '../stored.ts'
import type { Cluster } from './cluster.ts'
import type { Connection } from './connection.ts'
import { wrap } from './envelope.ts'
import { limitIn } from './failure.ts'
import type { Names } from './names.ts'
import { dpub, mpub, pub } from './protocol.ts'

/** What a raw topic does without: its reader finds it out, or does not need it. */
const droppable: ReadonlySet<string> = new Set(['content-type', 'traceparent', 'tracestate', 'baggage', wire.publishedAt])
/** Messages in one command; more would keep the first of them waiting. */
const batchMost = 1000
const closeWaitMs = 5000

export interface PublishingParts {
  readonly cluster: Cluster
  readonly names: Names
  readonly isRaw: (storage: string) => boolean
  /** Of a body, as declared. */
  readonly maxBytesOf: (storage: string) => number
  /** Of one message as nsqd gets it. */
  readonly maxMessageBytes: number
  /** Of one command with many. */
  readonly maxBodyBytes: number
  readonly maxDelayMs: number
  /** Told of each topic that is published to. */
  readonly published: (storage: string) => void
}

interface Item {
  readonly index: number
  readonly body: Uint8Array
}

/** The way out: one nsqd gets all, and when it is away the next one does. What was sent and not answered is not sent again. */
export class Publishing {
  readonly #parts: PublishingParts
  /** As far as is known: an nsqd whose HTTP side cannot be asked tells its own by the first refusal. */
  #maxMessageBytes: number
  #maxBodyBytes: number
  /** By the nsqd's name; a random one to begin with, so that many processes use all of them. */
  #current: string | undefined
  #flying = 0
  #idle: (() => void)[] = []
  #closed = false

  constructor(parts: PublishingParts) {
    this.#parts = parts
    this.#maxMessageBytes = parts.maxMessageBytes
    this.#maxBodyBytes = parts.maxBodyBytes
  }

  async publish(batch: readonly Outgoing[], stored?: OnStored): Promise<PublishOutcome[]> {
    if (this.#closed) throw new BusError('closed', 'the engine is closed')
    const connection = this.#connection()
    this.#flying++
    try {
      return await this.#send(connection, batch, stored)
    } finally {
      if (--this.#flying === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  /** @throws BusError `engine_unavailable` */
  #connection(): Connection {
    const { connected, health } = this.#parts.cluster
    const nsqd = connected.find(({ name }) => name === this.#current) ?? connected[Math.floor(Math.random() * connected.length)]
    if (!nsqd) throw new BusError('engine_unavailable', `NSQ: ${health.detail}; trying again`)
    this.#current = nsqd.name
    return nsqd.connection!
  }

  async #send(connection: Connection, batch: readonly Outgoing[], stored: OnStored | undefined): Promise<PublishOutcome[]> {
    const outcomes = new Array<PublishOutcome>(batch.length)
    const sending: Promise<void>[] = []
    const byTopic = new Map<string, Item[]>()
    const send = async (items: readonly Item[], answer: Promise<string>): Promise<void> => {
      await this.#settle(answer, outcomes, items)
      for (const { index } of items) if (outcomes[index]!.ok) this.#parts.published(batch[index]!.storage)
      if (stored) tellStored(items, outcomes, stored)
    }
    for (let index = 0; index < batch.length; index++) {
      const message = batch[index]!
      try {
        const body = this.#bodyOf(message)
        const topic = this.#parts.names.physical(message.storage)
        const delayMs = this.#delayOf(message)
        if (delayMs > 0) sending.push(send([{ index, body }], connection.ask(dpub(topic, delayMs, body), `topic '${message.name}'`)))
        else {
          const items = byTopic.get(topic)
          if (items) items.push({ index, body })
          else byTopic.set(topic, [{ index, body }])
        }
      } catch (error) {
        outcomes[index] = { ok: false, error: toBusError(error) }
      }
    }
    for (const [topic, items] of byTopic)
      for (const chunk of this.#chunks(items)) sending.push(send(chunk, this.#ask(connection, topic, chunk)))
    await Promise.all(sending)
    return outcomes
  }

  /** Bytes as they are, to a topic of the bus's own. @throws BusError */
  async forward(storage: string, body: Uint8Array, delayMs: number): Promise<void> {
    const { names, maxDelayMs } = this.#parts
    if (body.byteLength > this.#maxMessageBytes)
      throw new BusError('message_too_large', `${body.byteLength} bytes are more than ${this.#maxMessageBytes}`)
    const topic = names.physical(storage)
    const waitMs = Math.min(maxDelayMs, Math.ceil(delayMs))
    await this.#connection().ask(waitMs > 0 ? dpub(topic, waitMs, body) : pub(topic, body), `topic '${storage}'`)
  }

  #ask(connection: Connection, topic: string, chunk: readonly Item[]): Promise<string> {
    const bodies = chunk.map(({ body }) => body)
    return connection.ask(
      bodies.length === 1 ? pub(topic, bodies[0]!) : mpub(topic, bodies),
      `topic '${this.#parts.names.original(topic)}'`,
    )
  }

  async #settle(answer: Promise<string>, outcomes: PublishOutcome[], items: readonly Item[]): Promise<void> {
    try {
      await answer
      const stored: PublishOutcome = { ok: true, position: undefined, duplicate: false }
      for (const { index } of items) outcomes[index] = stored
    } catch (thrown) {
      const error = toBusError(thrown, 'publish_unknown')
      const told = error.code === 'message_too_large' && this.#learn(error.message)
      for (const { index, body } of items) {
        // nsqd stored none of them: what is small enough, or comes in smaller commands, is to be sent again.
        const fits = told && body.byteLength <= this.#maxMessageBytes
        outcomes[index] = { ok: false, error: fits ? new BusError('engine_unavailable', error.message, { cause: error }) : error }
      }
    }
  }

  /** False where the refusal tells no limit. */
  #learn(refusal: string): boolean {
    const limit = limitIn(refusal)
    if (limit?.of === 'message') this.#maxMessageBytes = Math.min(this.#maxMessageBytes, limit.bytes)
    if (limit?.of === 'body') this.#maxBodyBytes = Math.min(this.#maxBodyBytes, limit.bytes)
    return limit !== undefined
  }

  #chunks(items: readonly Item[]): Item[][] {
    const chunks: Item[][] = []
    let chunk: Item[] = []
    let bytes = 4
    for (const item of items) {
      const more = 4 + item.body.byteLength
      if (chunk.length >= batchMost || (chunk.length > 0 && bytes + more > this.#maxBodyBytes)) {
        chunks.push(chunk)
        chunk = []
        bytes = 4
      }
      chunk.push(item)
      bytes += more
    }
    if (chunk.length > 0) chunks.push(chunk)
    return chunks
  }

  /** @throws BusError `message_too_large`, `unsupported`, `invalid_message` */
  #bodyOf(message: Outgoing): Uint8Array {
    const { storage, name, headers } = message
    const raw = !isPrivate(storage) && this.#parts.isRaw(storage)
    if (raw) {
      for (const header in headers)
        if (!droppable.has(header))
          throw new BusError('unsupported', `topic '${name}' is raw (nsq.raw): it carries bodies alone, and no header '${header}'`)
      if (message.body.byteLength === 0)
        throw new BusError('invalid_message', `topic '${name}' is raw (nsq.raw), and nsqd takes no empty body`)
    }
    const most = this.#parts.maxBytesOf(storage)
    if (message.body.byteLength > most)
      throw new BusError('message_too_large', `topic '${name}': ${message.body.byteLength} bytes are more than ${most}`)
    const body = raw ? message.body : wrap(message)
    if (body.byteLength > this.#maxMessageBytes)
      throw new BusError(
        'message_too_large',
        `topic '${name}': ${message.body.byteLength} bytes are ${body.byteLength} on the wire; this nsqd takes ${this.#maxMessageBytes} (--max-msg-size)`,
      )
    return body
  }

  /** @throws BusError `unsupported` */
  #delayOf({ deliverAt, name }: Outgoing): number {
    if (deliverAt === undefined) return 0
    const delayMs = Math.ceil(deliverAt - Date.now())
    if (delayMs > this.#parts.maxDelayMs)
      throw new BusError(
        'unsupported',
        `topic '${name}': nsqd delays by ${this.#parts.maxDelayMs} ms at most (--max-req-timeout); schedule through the ledger`,
      )
    return delayMs
  }

  /** Resolves once all is answered, or nothing more can be expected. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#flying > 0) await within(closeWaitMs, new Promise<void>((resolve) => this.#idle.push(resolve)))
  }
}
