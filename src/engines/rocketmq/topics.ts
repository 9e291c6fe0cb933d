import { BusError } from '../../errors.ts'
import { isPrivate, mainOf } from '../../topic/name.ts'
import type { StorageName } from '../engine.ts'
import type { Broker, Cluster, Route } from './cluster.ts'
import { refused } from './failure.ts'
import { KeyQueues } from './key-queues.ts'
import { groupName, groupOf, isCoze, isSystem, originalName, physicalName } from './names.ts'
import { answer, looseJson, request } from './protocol.ts'

const usualQueues = 8
const namespace = 'cozebus'

/** Topics by the names of their storages. */
export class Topics {
  readonly keys: KeyQueues
  readonly #cluster: Cluster
  readonly #making = new Map<StorageName, Promise<Route>>()
  /** The whole names of those that were cut. */
  readonly #whole = new Map<string, StorageName>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.keys = new KeyQueues(cluster)
  }

  /** Makes it where it is missing. @throws BusError `not_found` where it may not be made, `forbidden` */
  async ensure(storage: StorageName): Promise<Route> {
    const found = await this.#cluster.route(physicalName(storage))
    if (found) return found
    const making = this.#making.get(storage) ?? this.#make(storage).finally(() => this.#making.delete(storage))
    this.#making.set(storage, making)
    return making
  }

  /** @throws BusError `not_found` */
  async existing(storage: StorageName): Promise<Route> {
    const found = await this.#cluster.route(physicalName(storage))
    if (!found) throw new BusError('not_found', `no topic '${storage}'`)
    return found
  }

  async #make(storage: StorageName): Promise<Route> {
    const { createTopics = true, queues = usualQueues } = this.#cluster.options
    const topic = physicalName(storage)
    if (!createTopics)
      throw new BusError(
        'not_found',
        `there is no topic '${storage}' (${topic}), and rocketmq.createTopics is off: make it with mqadmin updateTopic`,
      )
    const fields = (count: number) => ({
      topic,
      defaultTopic: 'TBW102',
      readQueueNums: String(count),
      writeQueueNums: String(count),
      perm: '6',
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: '0',
      order: 'false',
      force: 'false',
    })
    for (const { broker, count } of await this.#places(storage, queues))
      await this.#cluster.ask(broker, request.createTopic, fields(count), `topic '${storage}'`)
    if (originalName(topic) === undefined) await this.#note(topic, storage)
    // The brokers tell the name servers a little later.
    for (let waitMs = 5; ; waitMs *= 2) {
      const route = await this.#cluster.freshRoute(topic)
      if (route && route.writable.length > 0) return route
      if (waitMs > 5000) throw new BusError('engine_unavailable', `topic '${storage}' was made, and the name servers do not know of it`)
      await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }

  /**
   * On which brokers a topic is made, and with how many queues. The private one of a group has the queues of its topic: so a
   * key has the same queue in both, both are divided alike, and the key is in one member's hands.
   */
  async #places(storage: StorageName, usual: number): Promise<{ broker: Broker; count: number }[]> {
    const masters = await this.#cluster.masters()
    const main = isPrivate(storage) ? mainOf(storage) : undefined
    const route = main === undefined ? undefined : await this.#cluster.route(physicalName(main))
    if (!route) return masters.map((broker) => ({ broker, count: usual }))
    return masters.flatMap((broker) => {
      const count = route.brokers.find(({ name }) => name === broker.name)?.writeQueues ?? 0
      return count === 0 ? [] : { broker, count }
    })
  }

  async delete(storage: StorageName): Promise<void> {
    const topic = physicalName(storage)
    for (const broker of await this.#cluster.masters())
      await this.#cluster.ask(broker, request.deleteTopic, { topic }, `topic '${storage}'`)
    await this.#cluster.tellNames(request.deleteRoute, { topic }, `topic '${storage}'`)
    await this.keys.forget(topic)
    this.#cluster.forgetRoute(topic)
  }

  /** Every storage, with the topic behind it. */
  async all(): Promise<Map<StorageName, string>> {
    const frame = await this.#cluster.askNames(request.allTopics, {}, 'the topics')
    if (frame.code !== answer.ok) throw refused(frame, 'the topics')
    const { topicList } = looseJson(frame.body) as { topicList?: unknown[] }
    const brokers = new Set((await this.#cluster.masters()).map(({ name }) => name))
    const found = new Map<StorageName, string>()
    for (const topic of topicList ?? []) {
      if (typeof topic !== 'string' || isSystem(topic) || brokers.has(topic) || topic === 'DefaultCluster') continue
      const storage = originalName(topic) ?? (await this.#wholeOf(topic))
      if (storage !== undefined) found.set(storage, topic)
    }
    return found
  }

  /** Whether other programs are in the groups of a topic. */
  isShared(storage: StorageName): boolean {
    const { shared = isCoze } = this.#cluster.options
    const main = mainOf(storage) ?? storage
    return typeof shared === 'function' ? shared(main) : shared
  }

  /** How the group of a topic is called on the brokers. */
  groupName(group: string, storage: StorageName): string {
    return groupName(group, storage, (topic) => this.isShared(topic))
  }

  /** And back; what nobody wrote down stays as it is. */
  async groupOf(physical: string, storage: StorageName): Promise<string> {
    return groupOf(physical, storage) ?? (await this.#wholeOf(physical)) ?? physical
  }

  // A name server keeps notes by key; what is cut is written down there.
  async #note(physical: string, name: string): Promise<void> {
    this.#whole.set(physical, name)
    await this.#cluster.putNote(namespace, physical, name, `the name '${name}'`).catch(() => {})
  }

  async noteGroup(physical: string, group: string): Promise<void> {
    if (originalName(physical) === undefined && !this.#whole.has(physical)) await this.#note(physical, group)
  }

  async #wholeOf(physical: string): Promise<string | undefined> {
    const known = this.#whole.get(physical)
    if (known !== undefined) return known
    const frame = await this.#cluster.askNames(request.notes, { namespace }, 'the names')
    if (frame.code !== answer.ok) return undefined
    const { table } = looseJson(frame.body) as { table?: Record<string, unknown> }
    for (const [key, value] of Object.entries(table ?? {})) if (typeof value === 'string') this.#whole.set(key, value)
    return this.#whole.get(physical)
  }
}
