import { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import type { EngineAdmin, GroupInfo, Position, ReadFrom, Retention, StorageName, TopicInfo } from '../engine.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster, Topic } from './cluster.ts'
import { apiFailure, apiIdOf, kafkaError } from './failure.ts'
import { Groups } from './groups.ts'
import type { KafkaLedger } from './ledger.ts'
import { ledgerTopic, storageName } from './names.ts'
import { type Committed, commitOffsets, findOffsets, listOffsets, nobody } from './offsets.ts'
import { placeOf, readFrom } from './reading.ts'
import { Retaining } from './retaining.ts'
import { settledIn } from './settled.ts'
import type { KafkaSubscription } from './subscription.ts'
import type { Topics } from './topics.ts'

const requestMs = 10_000

export class KafkaAdmin implements EngineAdmin {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #ledger: KafkaLedger
  readonly #watch: TopicWatch
  readonly #retaining: Retaining
  readonly #subscriptions: ReadonlySet<KafkaSubscription>

  constructor(cluster: Cluster, topics: Topics, ledger: KafkaLedger, watch: TopicWatch, subscriptions: ReadonlySet<KafkaSubscription>) {
    this.#cluster = cluster
    this.#topics = topics
    this.#groups = new Groups(cluster)
    this.#ledger = ledger
    this.#watch = watch
    this.#subscriptions = subscriptions
    this.#retaining = new Retaining(cluster, topics, this.#groups, {
      bytes: async (topic) => (await this.#bytes([topic])).get(topic.name) ?? 0,
      purge: (storage, topic, starts, places) => this.#purge(storage, topic, starts, places),
    })
  }

  async declare(storage: StorageName, retention?: Retention): Promise<void> {
    await this.#topics.ensure(storage)
    if (retention) this.#retaining.keep(storage, retention)
  }

  /** By storage. The brokers' own topics and the ledger's are none. */
  async storages(): Promise<Map<StorageName, Topic>> {
    const found = new Map<StorageName, Topic>()
    for (const name of await this.#cluster.refresh(undefined)) {
      if (name === ledgerTopic || name.startsWith('__')) continue
      const storage = storageName(name) ?? (await this.#ledger.noted(name))
      const topic = this.#cluster.known(name)
      if (storage !== undefined && topic) found.set(storage, topic)
    }
    return found
  }

  async topics(): Promise<TopicInfo[]> {
    const storages = await this.storages()
    const topics = [...storages.values()]
    if (topics.length === 0) return []
    const [starts, ends, first, last, bytes] = await Promise.all([
      findOffsets(this.#cluster, topics, 'start'),
      findOffsets(this.#cluster, topics, 'end'),
      findOffsets(this.#cluster, topics, { timeMs: 0 }),
      findOffsets(this.#cluster, topics, 'newest'),
      this.#bytes(topics),
    ])
    return [...storages].map(([storage, { name }]) => {
      const times = (found: Map<string, { timestampMs: number }[]>) =>
        found.get(name)!.flatMap(({ timestampMs }) => (timestampMs < 0 ? [] : [timestampMs]))
      const messages = ends.get(name)!.reduce((sum, { offset }, i) => sum + offset - starts.get(name)![i]!.offset, 0)
      return {
        storage,
        messages,
        bytes: bytes.get(name) ?? 0,
        firstAt: messages === 0 ? undefined : least(times(first)),
        lastAt: messages === 0 ? undefined : most(times(last)),
        scheduled: 0,
      }
    })
  }

  close(): void {
    this.#retaining.close()
  }

  /** As they lie on the disks of those who lead them. */
  async #bytes(topics: readonly Topic[]): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    const wanted = topics.map(({ name, leaders }) => ({ name, partitions: [...leaders.keys()] }))
    await Promise.all(
      this.#cluster.nodes.map(async (node) => {
        const { results } = await this.#cluster.whole(await this.#cluster.node(node), 'DescribeLogDirs', wanted)
        for (const { topics: own } of results)
          for (const { name, partitions } of own)
            for (const { partitionIndex, partitionSize, isFutureKey } of partitions) {
              if (isFutureKey || this.#cluster.known(name)?.leaders[partitionIndex] !== node) continue
              found.set(name, (found.get(name) ?? 0) + Number(partitionSize))
            }
      }),
    ).catch((error) => {
      throw kafkaError(error, 'the size of topics')
    })
    return found
  }

  watchTopics(listener: (storage: StorageName) => void): () => void {
    return this.#watch.watch(listener)
  }

  // ── groups ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async groups(storage: StorageName): Promise<GroupInfo[]> {
    const topic = await this.#cluster.topic((await this.#existing(storage).catch(() => undefined))?.name ?? '')
    if (!topic) return []
    const [starts, ends, stands] = await Promise.all([
      listOffsets(this.#cluster, topic, 'start'),
      listOffsets(this.#cluster, topic, 'end'),
      this.#groups.on(topic),
    ])
    return Promise.all([...stands].map(([group, committed]) => this.#info(storage, topic, group, committed, starts, ends)))
  }

  async #info(
    storage: StorageName,
    topic: Topic,
    group: string,
    committed: ReadonlyMap<number, Committed>,
    starts: readonly number[],
    ends: readonly number[],
  ): Promise<GroupInfo> {
    const members = await this.#groups.members(group, topic.name)
    let lag = 0
    const places = new Map<number, number>()
    for (const [partition, end] of ends.entries()) {
      const { offset, metadata } = committed.get(partition) ?? { offset: starts[partition]!, metadata: '' }
      const from = Math.max(offset, starts[partition]!)
      if (from >= end) continue
      places.set(partition, from)
      lag += end - from - (from === offset ? settledIn(metadata) : 0)
    }
    const parts = [...this.#subscriptions]
      .filter((one) => one.group === group)
      .flatMap((one) => [...one.parts.values()].filter((part) => part.topic === topic.name))
    return {
      storage,
      group,
      filter: members.find(({ said }) => said?.filters[topic.name] !== undefined)?.said?.filters[topic.name],
      lag,
      // What other processes have in hand nobody but they know.
      inHand: parts.reduce((sum, { inHand }) => sum + inHand, 0),
      waiting: parts.reduce((sum, { waiting }) => sum + waiting, 0),
      members: members.length,
      oldestMs: places.size === 0 ? undefined : await this.#age(topic, places),
    }
  }

  async #age(topic: Topic, places: ReadonlyMap<number, number>): Promise<number | undefined> {
    const found = await readFrom(this.#cluster, topic, places, 1)
    const oldest = least([...found.values()].flatMap(({ records: [first] }) => (first ? [first.timestampMs] : [])))
    return oldest === undefined ? undefined : Math.max(0, Date.now() - oldest)
  }

  async #existing(storage: StorageName): Promise<Topic> {
    return this.#topics.existing(storage)
  }

  /** @throws BusError `not_found`, `conflict` */
  async #idle(storage: StorageName, topic: Topic, group: string): Promise<void> {
    if (!(await this.#groups.on(topic)).has(group)) throw new BusError('not_found', `no group '${group}' on '${storage}'`)
    const { length } = await this.#groups.members(group, topic.name)
    if (length > 0) throw new BusError('conflict', `group '${group}' has ${length} members on '${storage}'; close them first`)
  }

  async reset(storage: StorageName, group: string, to: ReadFrom): Promise<void> {
    const topic = await this.#existing(storage)
    await this.#idle(storage, topic, group)
    const places = await placeOf(this.#cluster, topic, to, 1)
    const offsets = new Map(places.map((offset, partition) => [partition, { offset, metadata: '' }]))
    try {
      await this.#cluster.patiently(`group '${group}'`, () => commitOffsets(this.#cluster, group, nobody, new Map([[topic.name, offsets]])))
    } catch (error) {
      // It has members that read other topics: then the broker takes no offset from anybody else.
      if (isMembers(error))
        throw new BusError('conflict', `group '${group}' has members on other topics; Kafka moves it once they are closed`, {
          cause: error,
        })
      throw error
    }
  }

  async deleteGroup(storage: StorageName, group: string): Promise<void> {
    const topic = await this.#existing(storage)
    await this.#idle(storage, topic, group)
    await this.#cluster.patiently(`group '${group}'`, async () => {
      const connection = await this.#cluster.coordinator(group)
      const { topics } = await this.#cluster.ask(connection, 'OffsetDelete', group, [
        { name: topic.name, partitions: topic.leaders.map((_, partitionIndex) => ({ partitionIndex })) },
      ])
      for (const { partitions } of topics) for (const { errorCode } of partitions) this.#cluster.fail(errorCode, `group '${group}'`)
    })
  }

  // ── topics ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async purge(storage: StorageName, before?: Position): Promise<number> {
    const topic = await this.#existing(storage)
    const starts = await listOffsets(this.#cluster, topic, 'start')
    const places = await placeOf(this.#cluster, topic, before ?? 'end', 0)
    return this.#purge(storage, topic, starts, places)
  }

  async #purge(storage: StorageName, topic: Topic, starts: readonly number[], places: readonly number[]): Promise<number> {
    const { leaders } = this.#cluster.known(topic.name) ?? topic
    let purged = 0
    await Promise.all(
      [...Map.groupBy(places.keys(), (partition) => leaders[partition]!)].map(async ([leader, partitions]) => {
        const wanted = partitions.filter((i) => places[i]! > starts[i]!).map((i) => ({ partitionIndex: i, offset: BigInt(places[i]!) }))
        if (wanted.length === 0) return
        const { topics } = await this.#cluster.whole(
          await this.#cluster.node(leader),
          'DeleteRecords',
          [{ name: topic.name, partitions: wanted }],
          requestMs,
        )
        for (const { partitionIndex, lowWatermark, errorCode } of topics[0]!.partitions) {
          const error = this.#cluster.kafka.protocolErrorsCodesById[errorCode]!
          if (error === 'POLICY_VIOLATION')
            throw new BusError('unsupported', `topic '${storage}' is compacted: Kafka deletes no part of it`)
          if (errorCode !== 0) throw apiFailure(error, undefined, `topic '${storage}'`)
          purged += Number(lowWatermark) - starts[partitionIndex]!
        }
      }),
    ).catch((error) => {
      throw kafkaError(error, `topic '${storage}'`)
    })
    return purged
  }

  async deleteTopic(storage: StorageName): Promise<void> {
    const topic = await this.#existing(storage)
    const stands = await this.#groups.on(topic)
    const reading = await this.#groups.reading(topic, stands)
    // One of which nothing is told, and that has no place here, most likely reads other topics.
    const others = reading.flatMap(({ group, hidden }) => (hidden ? [] : [group]))
    for (const group of [...stands.keys(), ...others]) {
      const { length } = await this.#groups.members(group, topic.name)
      if (length > 0) throw new BusError('conflict', `group '${group}' has ${length} members on '${storage}'; close them first`)
    }
    this.#retaining.keep(storage, {})
    await this.#topics.delete(storage)
    if (!isPrivate(storage)) this.#watch.gone(storage)
  }
}

function isMembers(error: unknown): boolean {
  const api = apiIdOf(error)
  return api === 'UNKNOWN_MEMBER_ID' || api === 'ILLEGAL_GENERATION'
}

const least = (values: readonly number[]): number | undefined => (values.length === 0 ? undefined : Math.min(...values))
const most = (values: readonly number[]): number | undefined => (values.length === 0 ? undefined : Math.max(...values))
