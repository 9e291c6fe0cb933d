import type { EngineAdmin, GroupInfo } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import type { LogBroker } from './log-broker.ts'
import type { LogGroup } from './log-group.ts'
import type { LogTopic } from './log-topic.ts'

export function logAdmin(broker: LogBroker, connection: Connection): EngineAdmin {
  /** @throws BusError `not_found`, `conflict` */
  function idleGroup(storage: string, name: string): LogGroup {
    const group = broker.groups.get(name)
    if (!group?.committed.has(storage)) throw new BusError('not_found', `no group '${name}' on '${storage}'`)
    const members = group.readers(storage).length
    if (members > 0) throw new BusError('conflict', `group '${name}' has ${members} members; close them first`)
    return group
  }

  return {
    async declare(storage, retention) {
      connection.check()
      const topic = broker.topic(storage)
      if (!retention) return
      topic.retention = retention
      topic.retain()
    },
    async topics() {
      connection.check()
      return [...broker.topics.values()].map((topic) => {
        topic.retain()
        const { count, size } = topic.size()
        const ends = topic.partitions.filter(({ records }) => records.length > 0)
        return {
          storage: topic.storage,
          messages: count,
          bytes: size,
          firstAt: ends.length > 0 ? Math.min(...ends.map(({ records }) => records[0]!.at)) : undefined,
          lastAt: ends.length > 0 ? Math.max(...ends.map(({ records }) => records.at(-1)!.at)) : undefined,
          scheduled: 0,
        }
      })
    },
    watchTopics(listener) {
      return broker.watch.watch(broker.topics.keys(), listener)
    },
    async groups(storage) {
      connection.check()
      const topic = broker.topics.get(storage)
      return topic ? [...broker.groups.values()].filter(({ committed }) => committed.has(storage)).map((group) => info(topic, group)) : []
    },
    async reset(storage, group, to) {
      connection.check()
      idleGroup(storage, group).committed.set(storage, broker.existing(storage).place(to, 1))
    },
    async deleteGroup(storage, group) {
      connection.check()
      idleGroup(storage, group).forget(storage)
    },
    async purge(storage, before) {
      connection.check()
      const topic = broker.existing(storage)
      const place = topic.place(before ?? 'end', 0)
      return topic.partitions.reduce((sum, partition, i) => sum + partition.trim(place[i]!), 0)
    },
    async deleteTopic(storage) {
      connection.check()
      broker.existing(storage)
      for (const { name, committed } of broker.groups.values()) if (committed.has(storage)) idleGroup(storage, name)
      broker.topics.delete(storage)
      for (const group of broker.groups.values()) group.forget(storage)
    },
  }
}

function info(topic: LogTopic, group: LogGroup): GroupInfo {
  const { storage } = topic
  const offsets = group.committed.get(storage)!.map((offset, i) => Math.max(offset, topic.partitions[i]!.base))
  const oldest = topic.partitions.map((partition, i) => partition.at(offsets[i]!)?.at ?? Infinity)
  const owned = group
    .readers(storage)
    .flatMap((member) => [...member.owned.values()].filter(({ partition }) => topic.partitions.includes(partition)))
  const oldestAt = Math.min(...oldest)
  return {
    storage,
    group: group.name,
    filter: group.filters.get(storage),
    lag: topic.partitions.reduce((sum, { end }, i) => sum + end - offsets[i]!, 0),
    inHand: owned.reduce((sum, { inHand }) => sum + inHand.size, 0),
    waiting: owned.reduce((sum, { waiting }) => sum + waiting, 0),
    members: group.readers(storage).length,
    oldestMs: oldestAt === Infinity ? undefined : Math.max(0, Date.now() - oldestAt),
  }
}
