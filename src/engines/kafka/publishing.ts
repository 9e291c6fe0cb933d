import { BusError, toBusError } from '../../errors.ts'
import type { OnStored, Outgoing, PublishOutcome } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { kafkaError } from './failure.ts'
import type { Done } from './lane.ts'
import { topicName } from './names.ts'
import { partitionerOf, partitionOf } from './partitioner.ts'
import type { Producer } from './producing.ts'
import { encodeRecord, sizeOf } from './records.ts'
import type { Topics } from './topics.ts'

/** From messages to partitions. */
export class Publishing {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #producer: Producer
  readonly #maxBody: number
  readonly #maxRecord: number
  readonly #pending = new Map<string, Promise<Topic | BusError>>()
  #turn = 0

  constructor(cluster: Cluster, topics: Topics, producer: Producer, maxBody: number, maxRecord: number) {
    this.#cluster = cluster
    this.#topics = topics
    this.#producer = producer
    this.#maxBody = maxBody
    this.#maxRecord = maxRecord
  }

  async publish(batch: readonly Outgoing[], onStored?: OnStored): Promise<PublishOutcome[]> {
    if (this.#cluster.closed) throw new BusError('closed', 'the connection to Kafka is closed; connect again to publish')
    if (batch.length === 0) return []
    const { promise, resolve, reject } = Promise.withResolvers<PublishOutcome[]>()
    const outcomes: PublishOutcome[] = new Array(batch.length)
    let left = batch.length
    const told = (outcome: PublishOutcome, place: number): void => {
      outcomes[place] = outcome
      if (outcome.ok) onStored?.(place, outcome)
      if (--left === 0) resolve(outcomes)
    }
    const stored: Done = (outcome, place) => {
      if (outcome.ok) {
        const { partition, offset } = outcome
        told({ ok: true, position: offset < 0 ? undefined : `${partition}:${offset}`, duplicate: false }, place)
      } else if (outcome.error.code === 'not_found')
        this.#makeAnew(batch[place]!.storage, outcome.error).then((error) => told({ ok: false, error }, place), reject)
      else told(outcome, place)
    }
    const send = (message: Outgoing, topic: Topic | BusError, place: number): void => {
      const refused = this.#send(message, topic, stored, place)
      if (refused) told({ ok: false, error: refused }, place)
    }
    let topic: Topic | Promise<Topic | BusError> | undefined
    for (const [i, message] of batch.entries()) {
      // Most are of the topic of the one before.
      if (i === 0 || message.storage !== batch[i - 1]!.storage) topic = this.#topicOf(message.storage)
      if (topic instanceof Promise) topic.then((found) => send(message, found, i)).catch(reject)
      else send(message, topic!, i)
    }
    return promise
  }

  /** At once where it is known. All who wait for one go on in their order, before anybody who comes later. */
  #topicOf(storage: string): Topic | Promise<Topic | BusError> {
    const pending = this.#pending.get(storage)
    if (pending) return pending
    const known = this.#cluster.known(topicName(storage))
    if (known) return known
    const making = this.#topics.ensure(storage).catch((error) => kafkaError(error, `topic '${storage}'`))
    this.#pending.set(storage, making)
    void making.then(() => setImmediate(() => this.#pending.delete(storage)))
    return making
  }

  /** Hands it on, or returns why it is refused. */
  #send(message: Outgoing, topic: Topic | BusError, done: Done, place: number): BusError | undefined {
    if (topic instanceof BusError) return topic
    const { storage, body, deliverAt, key } = message
    if (deliverAt !== undefined) return new BusError('unsupported', 'Kafka keeps no delay; schedule through the ledger')
    if (body.byteLength > this.#maxBody)
      return new BusError('message_too_large', `topic '${storage}': ${body.byteLength} bytes; this broker takes ${this.#maxBody}`)
    if (key !== undefined && !key.isWellFormed())
      return new BusError('invalid_message', `topic '${storage}': the key holds half a character (a lone surrogate)`)
    const bytes = key === undefined ? undefined : Buffer.from(key)
    const count = topic.leaders.length
    let partition: number
    try {
      partition =
        bytes === undefined
          ? this.#turn++ % count
          : partitionOf(this.#cluster.kafka, partitionerOf(storage, this.#cluster.target.options), bytes, count)
    } catch (error) {
      return toBusError(error, 'invalid_argument')
    }
    const record = encodeRecord(message, topic.name, partition, bytes)
    const size = sizeOf(record)
    if (size > this.#maxRecord)
      return new BusError(
        'message_too_large',
        `topic '${storage}': body and headers together are more than the ${this.#maxRecord} bytes this broker takes`,
      )
    this.#producer.push(record, size, done, place)
    return undefined
  }

  /** It was deleted since it was looked at: made anew, it takes what is sent again. */
  async #makeAnew(storage: string, error: BusError): Promise<BusError> {
    const again = await this.#topicOf(storage)
    return again instanceof BusError ? again : new BusError('engine_unavailable', error.message)
  }
}
