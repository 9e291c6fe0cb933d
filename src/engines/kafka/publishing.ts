import { BusError, toBusError } from '../../errors.ts'
import type { Outgoing, PublishOutcome } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { kafkaError } from './failure.ts'
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

  async publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    if (this.#cluster.closed) throw new BusError('closed', 'the connection to Kafka is closed; connect again to publish')
    return Promise.all(
      batch.map((message) => {
        const topic = this.#topicOf(message.storage)
        return topic instanceof Promise ? topic.then((found) => this.#send(message, found)) : this.#send(message, topic)
      }),
    )
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

  async #send(message: Outgoing, topic: Topic | BusError): Promise<PublishOutcome> {
    if (topic instanceof BusError) return { ok: false, error: topic }
    const { storage, body, deliverAt, key } = message
    if (deliverAt !== undefined) return refusal('unsupported', 'Kafka keeps no delay; schedule through the ledger')
    if (body.byteLength > this.#maxBody)
      return refusal('message_too_large', `topic '${storage}': ${body.byteLength} bytes; this broker takes ${this.#maxBody}`)
    if (key !== undefined && !key.isWellFormed())
      return refusal('invalid_message', `topic '${storage}': the key holds half a character (a lone surrogate)`)
    const bytes = key === undefined ? undefined : Buffer.from(key)
    const count = topic.leaders.length
    let partition: number
    try {
      partition =
        bytes === undefined
          ? this.#turn++ % count
          : partitionOf(this.#cluster.kafka, partitionerOf(storage, this.#cluster.target.options), bytes, count)
    } catch (error) {
      return { ok: false, error: toBusError(error, 'invalid_argument') }
    }
    const record = encodeRecord(message, topic.name, partition, bytes)
    if (sizeOf(record) > this.#maxRecord)
      return refusal(
        'message_too_large',
        `topic '${storage}': body and headers together are more than the ${this.#maxRecord} bytes this broker takes`,
      )
    const outcome = await this.#producer.send(record)
    if (outcome.ok) return { ok: true, position: outcome.offset < 0 ? undefined : `${partition}:${outcome.offset}`, duplicate: false }
    if (outcome.error.code !== 'not_found') return outcome
    // It was deleted since it was looked at: made anew, it takes what is sent again.
    const again = await this.#topicOf(storage)
    return { ok: false, error: again instanceof BusError ? again : new BusError('engine_unavailable', outcome.error.message) }
  }
}

function refusal(code: 'unsupported' | 'message_too_large' | 'invalid_message', text: string): PublishOutcome {
  return { ok: false, error: new BusError(code, text) }
}
