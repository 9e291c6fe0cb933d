import type { EngineAdmin } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import type { QueueBroker } from './queue-broker.ts'
import type { Channel, QueueMessage } from './queue-channel.ts'

export function queueAdmin(broker: QueueBroker, connection: Connection): EngineAdmin {
  /** @throws BusError `not_found`, `conflict` */
  function idleChannel(storage: string, group: string): Channel {
    const channel = broker.topics.get(storage)?.channels.get(group)
    if (!channel) throw new BusError('not_found', `no group '${group}' on '${storage}'`)
    if (channel.members.length > 0)
      throw new BusError('conflict', `group '${group}' has ${channel.members.length} members; close them first`)
    return channel
  }

  return {
    async declare(storage, retention) {
      connection.check()
      if (retention && Object.values(retention).some((limit) => limit !== undefined))
        throw new BusError('unsupported', 'queue-model keeps a message until its groups have it; it has no retention to set')
      broker.topic(storage)
    },
    async topics() {
      connection.check()
      return [...broker.topics.values()].map(({ storage, channels, backlog }) => {
        const kept = new Set<QueueMessage>(backlog.map(({ message }) => message))
        let scheduled = backlog.filter(({ readyAt }) => readyAt > Date.now()).length
        for (const channel of channels.values()) {
          for (const { message } of channel.entries()) kept.add(message)
          scheduled = Math.max(scheduled, channel.scheduled)
        }
        const times = [...kept].map(({ at }) => at)
        return {
          storage,
          messages: kept.size,
          bytes: [...kept].reduce((sum, { body }) => sum + body.byteLength, 0),
          firstAt: times.length > 0 ? Math.min(...times) : undefined,
          lastAt: times.length > 0 ? Math.max(...times) : undefined,
          scheduled,
        }
      })
    },
    watchTopics(listener) {
      return broker.watch.watch(broker.topics.keys(), listener)
    },
    async groups(storage) {
      connection.check()
      return [...(broker.topics.get(storage)?.channels.values() ?? [])].map((channel) => {
        const { ready, deferred, inHand } = channel.depth
        const { oldestAt, group, members } = channel
        const oldestMs = oldestAt === undefined ? undefined : Math.max(0, Date.now() - oldestAt)
        return {
          storage,
          group,
          filter: undefined,
          lag: ready + deferred + inHand,
          inHand,
          waiting: deferred,
          members: members.length,
          oldestMs,
        }
      })
    },
    async reset(storage, group, to) {
      connection.check()
      const channel = idleChannel(storage, group)
      if (to !== 'end') throw new BusError('unsupported', `queue-model has no history: a group can only be moved to 'end'`)
      channel.empty()
    },
    async deleteGroup(storage, group) {
      connection.check()
      idleChannel(storage, group).delete()
      broker.existing(storage).channels.delete(group)
    },
    async purge(storage, before) {
      connection.check()
      const topic = broker.existing(storage)
      if (before !== undefined) throw new BusError('unsupported', 'queue-model has no positions: it can purge everything only')
      const dropped = new Set<QueueMessage>(topic.backlog.splice(0).map(({ message }) => message))
      for (const channel of topic.channels.values()) for (const message of channel.empty()) dropped.add(message)
      return dropped.size
    },
    async deleteTopic(storage) {
      connection.check()
      const { channels } = broker.existing(storage)
      for (const group of channels.keys()) idleChannel(storage, group)
      broker.topics.delete(storage)
      for (const channel of channels.values()) channel.empty()
    },
  }
}
