import { BusError } from '../../errors.ts'
import type { EngineAdmin, GroupInfo, ReadFrom, Retention, StorageName, TopicInfo } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { type NameRecord, recordTopic } from './name-record.ts'
import { isEphemeral, type Names } from './names.ts'
import { heldBy, messagesOf, type NodeStats, statsOf, type TopicStats } from './stats.ts'
import type { TopicWatch } from './topic-watch.ts'

export interface AdminParts {
  readonly cluster: Cluster
  readonly names: Names
  readonly watch: TopicWatch
  readonly record: NameRecord
  /** When the oldest message that this process has in hand was published, ms. */
  readonly oldestAt: (storage: StorageName, group: string) => number | undefined
}

/** By the HTTP side of the nsqds: what each of them says is added up, what is asked for is done on each. */
export class NsqAdmin implements EngineAdmin {
  readonly #parts: AdminParts

  constructor(parts: AdminParts) {
    this.#parts = parts
  }

  async declare(storage: StorageName, retention?: Retention): Promise<void> {
    if (retention && Object.values(retention).some((limit) => limit !== undefined))
      throw new BusError('unsupported', 'NSQ keeps a message until its groups have it; it has no retention to set')
    const { cluster, names, watch } = this.#parts
    const path = `/topic/create?topic=${encodeURIComponent(names.physical(storage))}`
    // One is enough: the others make it with the first message they get.
    const nsqd = cluster.askable[0]
    if (!nsqd) throw new BusError('engine_unavailable', `NSQ: ${cluster.health.detail}`)
    try {
      await nsqd.ask('POST', path)
    } catch (error) {
      // A service may reach the TCP side alone: then nsqd makes the topic with its first message.
      if (nsqd.connection === undefined) throw error
    }
    watch.saw(storage)
  }

  async topics(): Promise<TopicInfo[]> {
    const { cluster, names, record } = this.#parts
    const found = new Map<StorageName, TopicInfo>()
    const nodes = await statsOf(cluster)
    await record.know(nodes.flatMap(({ topics }) => topics.map(({ topic_name }) => topic_name)))
    for (const { topics } of nodes)
      for (const topic of topics) {
        if (isEphemeral(topic.topic_name) || topic.topic_name === recordTopic) continue
        const storage = names.original(topic.topic_name)
        const before = found.get(storage)
        const messages = messagesOf(topic)
        found.set(storage, {
          storage,
          messages: (before?.messages ?? 0) + messages,
          bytes: (before?.bytes ?? 0) + bytesOf(topic, messages),
          firstAt: undefined,
          lastAt: undefined,
          scheduled: (before?.scheduled ?? 0) + Math.max(0, ...topic.channels.map(({ deferred_count }) => deferred_count)),
        })
      }
    return [...found.values()]
  }

  watchTopics(listener: (storage: StorageName) => void): () => void {
    return this.#parts.watch.watch(listener)
  }

  async groups(storage: StorageName): Promise<GroupInfo[]> {
    const { cluster, names, record, oldestAt } = this.#parts
    const found = new Map<string, GroupInfo>()
    const nodes = await statsOf(cluster, names.physical(storage))
    await record.know(nodes.flatMap(({ topics }) => topics.flatMap(({ channels }) => channels.map(({ channel_name }) => channel_name))))
    for (const { topics } of nodes)
      for (const { depth, channels } of topics)
        for (const channel of channels) {
          if (isEphemeral(channel.channel_name)) continue
          const group = names.original(channel.channel_name)
          const before = found.get(group)
          const oldest = oldestAt(storage, group)
          found.set(group, {
            storage,
            group,
            filter: undefined,
            lag: (before?.lag ?? 0) + depth + heldBy(channel),
            inHand: (before?.inHand ?? 0) + channel.in_flight_count,
            waiting: (before?.waiting ?? 0) + channel.deferred_count,
            // Each member has a connection to each nsqd.
            members: Math.max(before?.members ?? 0, channel.client_count),
            oldestMs: oldest === undefined ? undefined : Math.max(0, Date.now() - oldest),
          })
        }
    return [...found.values()]
  }

  async reset(storage: StorageName, group: string, to: ReadFrom): Promise<void> {
    const channel = await this.#idleChannel(storage, group)
    if (to !== 'end') throw new BusError('unsupported', `NSQ keeps no history: a group can only be moved to 'end'`)
    await this.#onEach(channel.nodes, '/channel/empty', channel)
  }

  async deleteGroup(storage: StorageName, group: string): Promise<void> {
    const channel = await this.#idleChannel(storage, group)
    // First where it is registered: an nsqd that makes the topic again would make the group again.
    await this.#parts.cluster.lookup?.deleteChannel(channel.topic, channel.channel)
    await this.#onEach(channel.nodes, '/channel/delete', channel)
  }

  async purge(storage: StorageName, before?: string): Promise<number> {
    const { topic, nodes } = await this.#topic(storage)
    if (before !== undefined) throw new BusError('unsupported', 'NSQ has no positions: it can purge everything only')
    let purged = 0
    for (const { nsqd, topics } of nodes)
      for (const stats of topics) {
        purged += messagesOf(stats)
        await nsqd.ask('POST', `/topic/empty?topic=${encodeURIComponent(topic)}`)
        for (const { channel_name } of stats.channels) await this.#onEach([{ nsqd }], '/channel/empty', { topic, channel: channel_name })
      }
    return purged
  }

  async deleteTopic(storage: StorageName): Promise<void> {
    const { topic, nodes } = await this.#topic(storage)
    for (const { topics } of nodes)
      for (const { channels } of topics)
        for (const { channel_name, client_count } of channels)
          if (client_count > 0 && !isEphemeral(channel_name)) throw hasMembers(this.#parts.names.original(channel_name), client_count)
    await this.#parts.cluster.lookup?.deleteTopic(topic)
    for (const { nsqd } of nodes) await nsqd.ask('POST', `/topic/delete?topic=${encodeURIComponent(topic)}`)
    this.#parts.watch.gone(storage)
  }

  /** @throws BusError `not_found` */
  async #topic(storage: StorageName): Promise<{ topic: string; nodes: NodeStats[] }> {
    const topic = this.#parts.names.physical(storage)
    const nodes = (await statsOf(this.#parts.cluster, topic)).filter(({ topics }) => topics.length > 0)
    if (nodes.length === 0) throw new BusError('not_found', `no topic '${storage}'`)
    return { topic, nodes }
  }

  /** @throws BusError `not_found`, `conflict` */
  async #idleChannel(storage: StorageName, group: string): Promise<{ topic: string; channel: string; nodes: NodeStats[] }> {
    const topic = this.#parts.names.physical(storage)
    const channel = this.#parts.names.physical(group)
    const nodes: NodeStats[] = []
    for (const node of await statsOf(this.#parts.cluster, topic))
      for (const { channels } of node.topics)
        for (const { channel_name, client_count } of channels) {
          if (channel_name !== channel) continue
          if (client_count > 0) throw hasMembers(group, client_count)
          nodes.push(node)
        }
    if (nodes.length === 0) throw new BusError('not_found', `no group '${group}' on '${storage}'`)
    return { topic, channel, nodes }
  }

  async #onEach(
    nodes: readonly Pick<NodeStats, 'nsqd'>[],
    path: string,
    { topic, channel }: { topic: string; channel: string },
  ): Promise<void> {
    const query = `?topic=${encodeURIComponent(topic)}&channel=${encodeURIComponent(channel)}`
    await Promise.all(nodes.map(({ nsqd }) => nsqd.ask('POST', path + query)))
  }
}

function hasMembers(group: string, count: number): BusError {
  return new BusError('conflict', `group '${group}' has ${count} members; close them first`)
}

/** By what came since nsqd was started; nothing of what lay there before. */
function bytesOf({ message_bytes, message_count }: TopicStats, messages: number): number {
  return message_count === 0 ? 0 : Math.round((messages * message_bytes) / message_count)
}
