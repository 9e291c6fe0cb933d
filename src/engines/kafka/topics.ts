import { BusError } from '../../errors.ts'
import { mainOf } from '../../topic/name.ts'
import type { Cluster, Topic } from './cluster.ts'
import { apiFailure, apiIdOf } from './failure.ts'
import { isCoze, topicName } from './names.ts'

const requestMs = 10_000
const keepForEver = '-1'
/**
 * The broker's own way knows nothing of groups: what a topic made here is to keep is looked after by the processes that say so.
 * All of it is said, as brokers may be set up to delete by size, or to compact.
 */
const kept = { 'retention.ms': keepForEver, 'retention.bytes': keepForEver, 'cleanup.policy': 'delete' }

/** Topics by the storage they hold, made where they are missing. */
export class Topics {
  readonly #cluster: Cluster
  readonly #making = new Map<string, Promise<Topic>>()
  /** Told once of each name that had to be cut. */
  onCut: (storage: string, topic: string) => Promise<void> = async () => {}

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** @throws BusError `not_found` */
  async existing(storage: string): Promise<Topic> {
    const topic = await this.#cluster.topic(topicName(storage))
    if (!topic) throw new BusError('not_found', `no topic '${storage}'`)
    return topic
  }

  /** @throws BusError `not_found` where it is missing and may not be made, `conflict`, `forbidden` */
  async ensure(storage: string): Promise<Topic> {
    const name = topicName(storage)
    const known = await this.#cluster.topic(name)
    if (known) return known
    let making = this.#making.get(name)
    if (!making) {
      making = this.#make(storage, name).finally(() => this.#making.delete(name))
      this.#making.set(name, making)
    }
    return making
  }

  async #make(storage: string, name: string): Promise<Topic> {
    const { createTopics = true, partitions = 8 } = this.#cluster.target.options
    if (!createTopics)
      throw new BusError(
        'not_found',
        `topic '${name}' does not exist, and kafka.createTopics is false; make it first, or leave the option out`,
      )
    const main = mainOf(storage)
    // A key is in the same partition of a topic and of its replays, so that one member has both.
    const count = main === undefined ? partitions : ((await this.#cluster.topic(topicName(main)))?.leaders.length ?? partitions)
    if (name.includes('..cut')) await this.onCut(storage, name)
    // What Go's services write and may never read is the broker's to delete.
    return this.create(name, count, isCoze(main ?? storage) ? {} : kept)
  }

  /** One that another made meanwhile is as good. */
  async create(name: string, partitions: number, configs: Readonly<Record<string, string>>): Promise<Topic> {
    const { replicas = -1 } = this.#cluster.target.options
    const wanted = {
      name,
      numPartitions: partitions,
      replicationFactor: replicas,
      assignments: [],
      configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    }
    await this.#cluster.patiently(`topic '${name}'`, async () => {
      const { topics } = await this.#cluster.whole(await this.#cluster.controller(), 'CreateTopics', [wanted], requestMs, false)
      const [made] = topics
      const error = this.#cluster.kafka.protocolErrorsCodesById[made?.errorCode ?? 0]!
      if (error !== 'NONE' && error !== 'TOPIC_ALREADY_EXISTS') throw apiFailure(error, made?.errorMessage ?? undefined, `topic '${name}'`)
    })
    return this.appeared(name)
  }

  /** It is made at once, and known to each broker a moment later; then it has leaders. */
  async appeared(name: string): Promise<Topic> {
    return this.#cluster.patiently(`topic '${name}'`, async () => {
      const topic = await this.#cluster.topic(name, true)
      if (!topic || topic.leaders.length === 0 || topic.leaders.some((leader) => leader < 0))
        throw new BusError('engine_unavailable', `topic '${name}' was made and has no leader yet`)
      return topic
    })
  }

  /** The topic's settings, by their names. */
  async settings(topic: Topic, names: readonly string[]): Promise<Map<string, string | null | undefined>> {
    const asked = [{ resourceType: 2 as const, resourceName: topic.name, configurationKeys: [...names] }]
    const { results } = await this.#cluster.ask(await this.#cluster.any(), 'DescribeConfigs', asked, false, false)
    return new Map((results[0]?.configs ?? []).map(({ name, value }) => [name, value]))
  }

  /** Whether the broker deletes nothing of it by itself: so it was made here. */
  async isOurs(topic: Topic): Promise<boolean> {
    return (await this.settings(topic, ['retention.ms'])).get('retention.ms') === keepForEver
  }

  async delete(storage: string): Promise<void> {
    const topic = await this.existing(storage)
    await this.#cluster.patiently(`topic '${storage}'`, async () => {
      try {
        await this.#cluster.ask(
          await this.#cluster.controller(),
          'DeleteTopics',
          [{ name: topic.name, topicId: '00000000-0000-0000-0000-000000000000' }],
          requestMs,
        )
      } catch (error) {
        if (apiIdOf(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error
      }
    })
    this.#cluster.forgetTopic(topic.name)
    await this.#cluster.patiently(`topic '${storage}'`, async () => {
      if (await this.#cluster.topic(topic.name, true)) throw new BusError('engine_unavailable', `topic '${storage}' is not gone yet`)
    })
  }
}
