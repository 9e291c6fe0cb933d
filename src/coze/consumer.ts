import type { DeliveryContext } from '../deliver/message.ts'
import type { SubscribeOptions } from '../deliver/options.ts'
import type { Subscription, SubscriptionStatus } from '../deliver/subscription.ts'
import { BusError } from '../errors.ts'
import type { Headers } from '../message/headers.ts'
import { holdBus } from './buses.ts'
import { isFlat } from './connection.ts'
import type { CozeConfig } from './environment.ts'
import { leaseMs } from './names.ts'
import { configOf } from './producer.ts'
import { rawChoice, storageOf } from './raw.ts'

/** A message as Coze's handlers get it, and what Coze keeps from them. */
export interface CozeMessage {
  readonly topic: string
  readonly group: string
  readonly body: Uint8Array
  readonly id: string
  /** The sharding key. */
  readonly key: string | undefined
  readonly headers: Headers
  readonly publishedAt: Date
}

/** Returns: acknowledged. Throws: tried again later, at last a dead letter. */
export type CozeHandler = (message: CozeMessage, delivery: DeliveryContext) => unknown

export interface ConsumerOptions extends Omit<SubscribeOptions, 'order'> {
  /** `'key'`: one at a time of each sharding key. Default `'none'`. */
  readonly order?: 'key' | 'none'
}

/** A member of a group. Make it with {@link registerConsumer}. */
export class Consumer {
  readonly #subscription: Subscription
  readonly #release: () => Promise<void>

  constructor(subscription: Subscription, release: () => Promise<void>) {
    this.#subscription = subscription
    this.#release = release
  }

  status(): SubscriptionStatus {
    return this.#subscription.status()
  }

  /** Handlers finish, the rest is given back. The group stays. */
  async close(): Promise<void> {
    try {
      await this.#subscription.close()
    } finally {
      await this.#release()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Joins a group of a topic, beside Go services where they read it too. It resolves once the member reads, and rejects when it
 * cannot. One message at a time unless `concurrency` says more; order, where asked for, is kept in each process, as Go
 * services take no part in more.
 * @throws BusError `invalid_argument`, `engine_missing`, `engine_unavailable`, `unauthorized`, `filter_conflict`
 */
export async function registerConsumer(
  server: string | CozeConfig,
  topic: string,
  group: string,
  handler: CozeHandler,
  options: ConsumerOptions = {},
): Promise<Consumer> {
  const config = configOf(server)
  const choice = rawChoice(topic)
  if (config.type === 'nsq' && options.order === 'key' && isFlat(storageOf(choice)))
    throw new BusError(
      'unsupported',
      `topic '${topic}': on NSQ a message of Coze's carries no sharding key to keep order by; subscribe with a definition that finds it in the body (knowledgeJobs, or topic(name, { key })) and orderScope: 'process'`,
    )
  const { bus, release } = await holdBus(config)
  try {
    const defaults: SubscribeOptions = { concurrency: 1, lease: leaseMs, orderScope: 'process' }
    const subscription = await bus.subscribe(choice, { ...defaults, ...options, group }, (message, delivery) => {
      const { id, key, headers, publishedAt, bytes } = message
      return handler({ topic: message.topic, group, body: bytes, id, key, headers, publishedAt }, delivery)
    })
    return new Consumer(subscription, release)
  } catch (error) {
    await release()
    throw error
  }
}
