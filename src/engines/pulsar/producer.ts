import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { Backoff } from '../backoff.ts'
import type { PublishOutcome } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import type { Connection, ProducerEvents } from './connection.ts'
import { NotServing } from './failure.ts'
import { positionOf } from './message.ts'
import { messageIdOf } from './protocol.ts'

/** Sent and not answered by then: it may be stored, ms. */
const answerMs = 30_000
const firstWaitMs = 50
const lastWaitMs = 2000
/** What the socket has not taken holds back the rest. */
const mostUnsent = 4 * 1024 * 1024

export interface Item {
  /** The metadata but for the producer's name and the sequence. */
  readonly metadata: object
  readonly payload: Uint8Array
  readonly done: (outcome: PublishOutcome) => void
}
interface Sent extends Item {
  readonly sequence: number
  readonly deadline: number
}

let made = 0

/**
 * What goes to one topic or partition: in the order of handing in, and all of it again, in that order, after the connection was
 * lost. The broker may have stored what it did not answer: then it is there twice, under the same id.
 */
export class Producer implements ProducerEvents {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #id = ++made
  #queue: Item[] = []
  /** On its way, in order. */
  #sent: Sent[] = []
  #sequence = 0
  #connection: Connection | undefined
  #name = ''
  #opening = false
  readonly #backoff = new Backoff({ reconnectWaitMs: firstWaitMs, reconnectMaxWaitMs: lastWaitMs })
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #epoch = 0
  #usedAt = performance.now()

  constructor(cluster: Cluster, topic: string) {
    this.#cluster = cluster
    this.#topic = topic
  }

  get idle(): boolean {
    return this.#queue.length === 0 && this.#sent.length === 0
  }

  /** Nothing was sent since then, and nothing is under way. */
  idleSince(then: number): boolean {
    return this.idle && this.#usedAt < then
  }

  send(item: Item): void {
    this.#queue.push(item)
    this.#pump()
  }

  #pump(): void {
    if (!this.#connection) {
      void this.#open()
      return
    }
    const now = performance.now()
    this.#usedAt = now
    let count = 0
    while (count < this.#queue.length && this.#connection.unsent < mostUnsent) {
      const sent = { ...this.#queue[count++]!, sequence: this.#sequence++, deadline: now + answerMs }
      if (this.#write(sent)) this.#sent.push(sent)
    }
    if (count > 0) this.#queue = this.#queue.slice(count)
    if (this.#sent.length > 0 || this.#queue.length > 0) this.#watch()
  }

  /** False: no broker takes it, and it would end the connection for all. */
  #write({ metadata, payload, sequence, done }: Sent): boolean {
    const { codec, maxMessageBytes } = this.#connection!
    const bytes = codec.encodeMetadata({ ...metadata, producer_name: this.#name, sequence_id: sequence })
    const size = bytes.byteLength + payload.byteLength
    if (size > maxMessageBytes) {
      const why = `topic '${this.#topic}': ${size} bytes with its headers are more than the ${maxMessageBytes} the broker takes (maxMessageSize)`
      done({ ok: false, error: new BusError('message_too_large', why) })
      return false
    }
    const fields = { producer_id: this.#id, sequence_id: sequence, num_messages: 1 }
    this.#connection!.write(...codec.encodeSend(fields, bytes, payload))
    return true
  }

  async #open(): Promise<void> {
    if (this.#opening || this.#closed) return
    this.#opening = true
    try {
      const connection = await this.#cluster.serving(this.#topic)
      connection.producers.set(this.#id, this)
      const what = `topic '${this.#topic}'`
      // The broker gives it a name of its own, which it then keeps.
      const known =
        this.#name === '' ? { user_provided_producer_name: false } : { producer_name: this.#name, user_provided_producer_name: false }
      const fields = { topic: this.#cluster.fullName(this.#topic), producer_id: this.#id, epoch: this.#epoch++, ...known }
      const answer = await connection.ask('producer', fields, what).catch((error) => {
        connection.producers.delete(this.#id)
        // It may stand there all the same, if nothing was heard in time.
        void connection.ask('closeProducer', { producer_id: this.#id }, what).catch(() => {})
        throw error
      })
      if (!connection.open) throw new BusError('engine_unavailable', `${what}: the connection was lost`)
      if (this.#closed) {
        connection.producers.delete(this.#id)
        return void connection.ask('closeProducer', { producer_id: this.#id }, what).catch(() => {})
      }
      this.#name = String(answer['producer_name'])
      this.#connection = connection
      this.#opening = false
      this.#sent = this.#sent.filter((one) => this.#write(one))
      this.#pump()
    } catch (thrown) {
      this.#opening = false
      const error = toBusError(thrown, 'engine_unavailable')
      // What was never sent is told at once why; the publisher comes again with it.
      const queued = this.#queue
      this.#queue = []
      for (const { done } of queued) done({ ok: false, error })
      if (error.code !== 'engine_unavailable') this.#giveUp(error)
      if (this.#sent.length > 0 && !this.#closed) {
        void this.#pause().then(() => this.#pump())
        this.#watch()
      }
    }
  }

  /** One timer for all that is on its way. */
  #watch(): void {
    this.#timer ??= setInterval(() => {
      const now = performance.now()
      while (this.#sent.length > 0 && this.#sent[0]!.deadline <= now) this.#unknown(this.#sent.shift()!, `no answer within ${answerMs} ms`)
      if (this.#connection && this.#queue.length > 0) this.#pump()
      if (!this.idle) return
      clearInterval(this.#timer)
      this.#timer = undefined
    }, 20).unref()
  }

  receipt(sequence: number, messageId: unknown): void {
    // In order, but for those that go again; an answer to what was sent twice comes twice.
    const at = this.#sent[0]?.sequence === sequence ? 0 : this.#sent.findIndex((one) => one.sequence === sequence)
    if (at < 0) return
    const id = messageIdOf(messageId)
    const { done } = at === 0 ? this.#sent.shift()! : this.#sent.splice(at, 1)[0]!
    this.#backoff.reset()
    done({ ok: true, position: positionOf({ ...id, batch: -1 }), duplicate: false })
    if (this.#queue.length > 0) this.#pump()
  }

  refused(sequence: number, error: BusError): void {
    const at = this.#sent.findIndex((one) => one.sequence === sequence)
    if (at < 0) return
    if (error instanceof NotServing) {
      void this.#goOn()
      return
    }
    const [one] = this.#sent.splice(at, 1)
    one!.done({ ok: false, error: new BusError(error.code, `topic '${this.#topic}': ${error.message}`, { cause: error }) })
  }

  /** No plain refusal: the topic is closing, or on its way to another broker. All that is not answered goes again, as after a lost connection. */
  async #goOn(): Promise<void> {
    const connection = this.#connection
    if (!connection || this.#opening) return
    this.#connection = undefined
    this.#opening = true
    // Until then what others of it became is still told.
    await connection.ask('closeProducer', { producer_id: this.#id }, `topic '${this.#topic}'`).catch(() => {})
    connection.producers.delete(this.#id)
    await this.#pause()
    this.#opening = false
    if (!this.idle && !this.#closed) this.#pump()
  }

  /** Longer each time, until something is stored. */
  #pause(): Promise<void> {
    return sleep(this.#backoff.next())
  }

  ended(): void {
    this.#connection = undefined
    if (!this.idle && !this.#closed) this.#pump()
  }

  #unknown({ done }: Sent, why: string): void {
    done({ ok: false, error: new BusError('publish_unknown', `topic '${this.#topic}': it may be stored: ${why}`) })
  }

  #giveUp(error: BusError): void {
    for (const one of this.#sent.splice(0)) this.#unknown(one, error.message)
  }

  /** What is not answered by now is not known. */
  close(): void {
    this.#closed = true
    clearInterval(this.#timer)
    const connection = this.#connection
    connection?.producers.delete(this.#id)
    void connection?.ask('closeProducer', { producer_id: this.#id }, `topic '${this.#topic}'`).catch(() => {})
    for (const { done } of this.#queue.splice(0)) done({ ok: false, error: new BusError('closed', 'the connection to Pulsar is closed') })
    this.#giveUp(new BusError('closed', 'the connection to Pulsar was closed'))
  }
}
