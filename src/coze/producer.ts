import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import type { PublishOptions } from '../publish/encode.ts'
import type { Outcome, Receipt } from '../publish/receipt.ts'
import { holdBus } from './buses.ts'
import { cozeCodec } from './codec.ts'
import { type CozeConfig, configFromEnv } from './environment.ts'
import { rawTopic } from './raw.ts'

/** Bytes and text go as they are; anything else as JSON whose `bigint`s are 64-bit integers. */
export type SendBody = Uint8Array | string | object

export interface SendOptions extends Pick<PublishOptions, 'headers' | 'id' | 'signal' | 'timeout'> {
  /** What order is kept by. It is no id: each send is a message of its own. */
  readonly shardingKey?: string
}

/** Not all of a batch was stored; `outcomes` says what became of each, in order. */
export class BatchSendError extends BusError {
  readonly outcomes: readonly Outcome[]

  constructor(outcomes: readonly Outcome[]) {
    const failed = outcomes.filter((outcome) => !outcome.ok)
    const first = failed[0]!.error
    super(first.code, `${failed.length} of ${outcomes.length} messages were not confirmed; the first: ${first.message}`, { cause: first })
    this.outcomes = outcomes
  }
}

/** The way out of one topic, as in Coze Studio. Make it with {@link createProducer}. */
export class Producer {
  readonly #bus: Bus
  readonly #topic: string | undefined
  readonly #release: () => Promise<void>

  constructor(bus: Bus, topic: string | undefined, release: () => Promise<void>) {
    this.#bus = bus
    this.#topic = topic
    this.#release = release
  }

  /** Resolves once the broker has confirmed. @throws BusError `publish_rejected`, `publish_unknown`, `message_too_large` */
  async send(body: SendBody, options: SendOptions = {}): Promise<Receipt> {
    return this.#publish(this.#own(), body, options)
  }

  /** In order, whatever the bodies are. @throws BatchSendError with the outcome of each, when one of them failed */
  async batchSend(bodies: Iterable<SendBody>, options: Omit<SendOptions, 'id'> = {}): Promise<Receipt[]> {
    const outcomes = await this.#bus.publishMany(rawTopic(this.#own()), Array.from(bodies, encode), optionsOf(options))
    const receipts = outcomes.filter((outcome) => outcome.ok)
    if (receipts.length < outcomes.length) throw new BatchSendError(outcomes)
    return receipts
  }

  /** To any topic. */
  async sendMessage(topic: string, body: SendBody, options: SendOptions = {}): Promise<Receipt> {
    return this.#publish(topic, body, options)
  }

  #publish(topic: string, body: SendBody, options: SendOptions): Promise<Receipt> {
    return this.#bus.publish(rawTopic(topic), encode(body), optionsOf(options))
  }

  #own(): string {
    if (this.#topic === undefined)
      throw new BusError('invalid_argument', 'this producer has no topic: use sendMessage(topic, body), or createProducer(config, topic)')
    return this.#topic
  }

  /** Resolves once everything that was sent is confirmed or refused. Twice is one close. */
  close(): Promise<void> {
    return this.#release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * A producer of a topic. The first argument is a configuration, or the address that Coze calls the name server (the rest is
 * then read from the variables, as in Go). The topic's stream and the group are there when it resolves. `retries` is what the Go
 * call has and is not needed: a send is repeated until its `timeout`.
 * @throws BusError `invalid_argument`, `engine_missing`, `engine_unavailable`, `unauthorized`
 */
export async function createProducer(server: string | CozeConfig, topic?: string, group?: string, _retries?: number): Promise<Producer> {
  const { bus, declare, release } = await holdBus(configOf(server))
  try {
    if (topic !== undefined) await declare(topic, group)
    return new Producer(bus, topic, release)
  } catch (error) {
    await release()
    throw error
  }
}

/** The address wins over the variables that name one. */
export function configOf(server: string | CozeConfig): CozeConfig {
  return typeof server === 'object' ? server : configFromEnv({ ...process.env, MQ_NAME_SERVER: server, NATS_SERVER_URL: undefined })
}

function optionsOf({ shardingKey, ...options }: SendOptions): PublishOptions {
  // Coze calls an empty key none.
  return shardingKey ? { ...options, key: shardingKey } : options
}

function encode(body: SendBody): Uint8Array {
  return typeof body === 'string' ? Buffer.from(body) : cozeCodec.encode(body)
}
