import { BusError } from '../../errors.ts'
import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineHealth,
  EngineSubscription,
  Finding,
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
import { KafkaAdmin } from './admin.ts'
import { loadKafka } from './client.ts'
import { Cluster } from './cluster.ts'
import { diagnose } from './doctor.ts'
import { kafkaError } from './failure.ts'
import { Health } from './health.ts'
import { KafkaLedger } from './ledger.ts'
import { KafkaLive } from './live.ts'
import type { KafkaOptions } from './options.ts'
import { Producer } from './producing.ts'
import { Publishing } from './publishing.ts'
import { readPage } from './reading.ts'
import { KafkaSubscription } from './subscription.ts'
import { resolveTarget, type Target } from './target.ts'
import { Topics } from './topics.ts'

/** What a broker takes that says nothing else. */
const usualBytes = 1_048_588
/** Room in a batch for what is not body: key, headers, counts. */
const headerRoom = 16 * 1024
/** Between two attempts to connect for the first time, ms. */
const againMs = 1000

/**
 * Connects to Kafka.
 * @throws BusError `engine_missing`, `unauthorized`, `engine_unavailable`, `unsupported` for a broker that is too old, `invalid_argument`
 */
export async function openKafka(url: string, options: KafkaOptions = {}): Promise<Engine> {
  const target = resolveTarget(url, options)
  const { waitForServer } = options
  return patiently({ broker: 'Kafka', waitForServer, waitMs: () => againMs }, () => openOnce(target))
}

async function openOnce(target: Target): Promise<Engine> {
  const cluster = new Cluster(await loadKafka(), target)
  try {
    await cluster.refresh([], 0)
    return new KafkaEngine(cluster, await largestBatch(cluster))
  } catch (error) {
    await cluster.close()
    throw atFirst(error, target)
  }
}

/** Before anything has worked: which address it was, and what is most often the reason. */
function atFirst(thrown: unknown, { brokers }: Target): BusError {
  const where = `connecting to ${brokers.map(({ host, port }) => `${host}:${port}`).join(', ')}`
  const error = kafkaError(thrown, where)
  const { code } = error
  const text = error.message.startsWith(where) ? error.message : `${where}: ${error.message}`
  const hint = /connection closed/i.test(text)
    ? '; what listens there is no Kafka, or it wants a user (kafka.user, kafka.password) or TLS (kafka+ssl://)'
    : ''
  return new BusError(code, `${text}${hint}`, { cause: thrown })
}

/** Of a broker's own setting; a user that may not ask is told the usual one. */
async function largestBatch(cluster: Cluster): Promise<number> {
  const [node] = cluster.nodes
  if (node === undefined) return usualBytes
  const asked = [{ resourceType: 4 as const, resourceName: String(node), configurationKeys: ['message.max.bytes'] }]
  const answer = await cluster.whole(await cluster.node(node), 'DescribeConfigs', asked, false, false).catch(() => undefined)
  return Number(answer?.results[0]?.configs[0]?.value ?? usualBytes) || usualBytes
}

class KafkaEngine implements Engine {
  readonly name = 'kafka'
  readonly capabilities: Capabilities
  readonly admin: KafkaAdmin
  readonly live: KafkaLive
  readonly ledger: KafkaLedger
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #producer: Producer
  readonly #publishing: Publishing
  readonly #health: Health
  readonly #watch: TopicWatch
  readonly #subscriptions = new Set<KafkaSubscription>()
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, batchBytes: number) {
    this.#cluster = cluster
    this.#topics = new Topics(cluster)
    this.#producer = new Producer(cluster, batchBytes)
    this.#health = new Health(cluster)
    const { host, port } = cluster.target.brokers[0]!
    this.ledger = new KafkaLedger(`kafka (${host}:${port})`, cluster, this.#topics, this.#producer)
    this.#topics.onCut = (storage, topic) => this.ledger.note(topic, storage)
    this.#watch = new TopicWatch(async () => (await this.admin.storages()).keys())
    this.admin = new KafkaAdmin(cluster, this.#topics, this.ledger, this.#watch, this.#subscriptions)
    this.live = new KafkaLive(cluster, this.#topics, this.#watch, () => this.admin.storages())
    this.capabilities = {
      durability: 'page-cache',
      ordering: 'group',
      orderedPipelining: true,
      dedupeWindowMs: 0,
      delayMaxMs: 0,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'position',
      redelivered: true,
      filter: 'client',
      history: true,
      purgeBefore: true,
      headers: true,
      maxMessageBytes: batchBytes - headerRoom,
      ledger: 'native',
    }
    this.#publishing = new Publishing(cluster, this.#topics, this.#producer, this.capabilities.maxMessageBytes, batchBytes - 200)
  }

  publish(batch: readonly Outgoing[], _signal?: AbortSignal, stored?: OnStored): Promise<PublishOutcome[]> {
    return this.#publishing.publish(batch, stored)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.#mustBeOpen()
    if (spec.order === 'topic' && spec.orderScope === 'group') await this.#refuseParts(spec)
    const subscription: KafkaSubscription = new KafkaSubscription(this.#cluster, this.#topics, spec, sink, () =>
      this.#subscriptions.delete(subscription),
    )
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
    } catch (error) {
      await subscription.close().catch(() => {})
      throw kafkaError(error, `group '${spec.group}'`)
    }
    return subscription
  }

  /** @throws BusError `unsupported` */
  async #refuseParts({ sources }: SubscriptionSpec): Promise<void> {
    for (const { storage } of sources) {
      const { length } = (await this.#topics.ensure(storage)).leaders
      if (length > 1)
        throw new BusError(
          'unsupported',
          `topic '${storage}' has ${length} partitions, and Kafka keeps no order across them: use order 'key', orderScope: 'process' with one member, or a topic of one partition`,
        )
    }
  }

  async read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    this.#mustBeOpen()
    return readPage(this.#cluster, await this.#topics.existing(storage), storage, after, limit)
  }

  diagnose(): Promise<readonly Finding[]> {
    const { admin } = this
    return diagnose({ cluster: this.#cluster, storages: () => admin.storages(), groups: (storage) => admin.groups(storage) })
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.#health.on(listener)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new BusError('closed', 'the connection to Kafka is closed; connect again')
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close()))
    this.live.close()
    this.admin.close()
    this.#watch.end()
    this.#health.end()
    await this.#producer.close()
    this.ledger.close()
    await this.#cluster.close()
  }
}
