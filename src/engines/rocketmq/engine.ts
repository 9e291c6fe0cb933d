import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineSubscription,
  OnStored,
  Outgoing,
  Page,
  PublishOutcome,
  ReadFrom,
  StorageName,
  SubscriptionSpec,
} from '../engine.ts'
import { patiently } from '../patience.ts'
import { TopicWatch } from '../topic-watch.ts'
import { RocketmqAdmin } from './admin.ts'
import { type Broker, Cluster } from './cluster.ts'
import { Floors } from './floors.ts'
import { Groups } from './groups.ts'
import { Health } from './health.ts'
import type { SubscriptionParts } from './joining.ts'
import { type Limits, limitsOf } from './limits.ts'
import { RocketmqLive } from './live.ts'
import { checkRocketmqOptions, type RocketmqOptions } from './options.ts'
import { OrderedSubscription } from './ordered.ts'
import { PopSubscription } from './popped.ts'
import { Publishing } from './publishing.ts'
import { readPage } from './reading.ts'
import { Topics } from './topics.ts'
import { parseRocketmqUrl } from './url.ts'

/** Between two attempts to connect for the first time, ms. */
const againMs = 500
/** For publishes that are under way when the engine is closed, ms. */
const lastMs = 5000

/**
 * Connects to the brokers that name servers know.
 * @throws BusError `engine_unavailable`, `unauthorized`, `invalid_argument`
 */
export async function openRocketmq(url: string, options: RocketmqOptions = {}): Promise<Engine> {
  checkRocketmqOptions(options)
  const nameServers = parseRocketmqUrl(url)
  const { waitForServer } = options
  return patiently({ broker: 'RocketMQ', waitForServer, waitMs: () => againMs }, async () => {
    const cluster = new Cluster(nameServers, options)
    try {
      return new RocketmqEngine(cluster, await limitsOf(cluster), await cluster.masters())
    } catch (error) {
      cluster.close()
      throw error
    }
  })
}

class RocketmqEngine implements Engine {
  readonly name = 'rocketmq'
  readonly capabilities: Capabilities
  readonly admin: RocketmqAdmin
  readonly live: RocketmqLive
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #floors: Floors
  readonly #publishing: Publishing
  readonly #health: Health
  readonly #watch: TopicWatch
  readonly #limits: Limits
  readonly #subscriptions = new Set<PopSubscription | OrderedSubscription>()
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, limits: Limits, brokers: readonly Broker[]) {
    this.#cluster = cluster
    this.#limits = limits
    this.#topics = new Topics(cluster)
    this.#floors = new Floors(cluster)
    this.#groups = new Groups(cluster, this.#floors)
    this.#publishing = new Publishing(cluster, this.#topics, limits)
    this.#health = new Health(cluster, brokers)
    this.#watch = new TopicWatch(async () => (await this.#topics.all()).keys())
    const parts = { cluster, topics: this.#topics, groups: this.#groups, floors: this.#floors, watch: this.#watch }
    this.live = new RocketmqLive(parts)
    this.admin = new RocketmqAdmin({
      ...parts,
      handOf: (storage, group) => {
        const hands = [...this.#subscriptions].filter((one) => one.group === group).map((one) => one.handOf(storage))
        const times = hands.flatMap(({ oldestAt }) => oldestAt ?? [])
        const sum = (name: 'count' | 'waiting' | 'beyond'): number => hands.reduce((all, hand) => all + hand[name], 0)
        return {
          count: sum('count'),
          waiting: sum('waiting'),
          beyond: sum('beyond'),
          oldestAt: times.length > 0 ? Math.min(...times) : undefined,
        }
      },
    })
    this.capabilities = {
      durability: limits.synced ? 'disk' : 'page-cache',
      ordering: 'group',
      orderedPipelining: false,
      dedupeWindowMs: 0,
      delayMaxMs: limits.maxDelayMs,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'message',
      // A broker that was killed gives again what it had given, as if for the first time.
      redelivered: false,
      filter: 'client',
      history: true,
      purgeBefore: true,
      headers: true,
      maxMessageBytes: limits.maxMessageBytes,
      ledger: 'given',
    }
  }

  publish(batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]> {
    return this.#publishing.publish(batch, stored)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.#mustBeOpen()
    if (spec.order === 'topic' && spec.orderScope === 'group') await this.#refuseQueues(spec)
    if (spec.order === 'none' && this.#limits.maxDelayMs === 0)
      throw new BusError('unsupported', 'POP needs the timer of the broker: set timerWheelEnable=true in its configuration')
    const parts: SubscriptionParts = {
      cluster: this.#cluster,
      topics: this.#topics,
      groups: this.#groups,
      send: (copies, extras) => this.#publishing.forward(copies, extras),
      maxDelayMs: this.#limits.maxDelayMs,
      onClose: () => this.#subscriptions.delete(subscription),
    }
    const subscription: PopSubscription | OrderedSubscription =
      spec.order === 'none' ? new PopSubscription(parts, spec, sink) : new OrderedSubscription(parts, spec, sink)
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
    } catch (error) {
      await subscription.close().catch(() => {})
      throw error
    }
    return subscription
  }

  /** @throws BusError `unsupported` */
  async #refuseQueues({ sources }: SubscriptionSpec): Promise<void> {
    for (const { storage } of sources) {
      const { length } = (await this.#topics.ensure(storage)).readable
      if (length > 1)
        throw new BusError(
          'unsupported',
          `topic '${storage}' has ${length} queues, and RocketMQ keeps no order across them: use order 'key', orderScope: 'process' with one member, or a topic of one queue (rocketmq: { queues: 1 })`,
        )
    }
  }

  async read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    this.#mustBeOpen()
    const route = await this.#topics.existing(storage)
    return readPage(this.#cluster, route, await this.#floors.starts(route), storage, after, limit)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#health.on(listener)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new BusError('closed', 'the connection to RocketMQ is closed; connect again')
  }

  async #close(): Promise<void> {
    // Hands that are given back send copies: publishing ends after them.
    await this.live.close()
    this.#watch.end()
    const closing = this.#publishing.refuse()
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close()))
    await within(lastMs, closing)
    this.#health.end()
    this.#cluster.close()
  }
}
