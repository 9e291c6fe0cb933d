import { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import { isPattern, matcher, overlaps } from '../../topic/pattern.ts'
import type { Live, StorageName, Stored } from '../engine.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster, Topic } from './cluster.ts'
import { kafkaError } from './failure.ts'
import { Fetcher, type Wanted } from './fetching.ts'
import { listOffsets } from './offsets.ts'
import { decodeRecord } from './records.ts'
import type { Topics } from './topics.ts'

type Place = 'start' | 'end' | { readonly timeMs: number }

interface Tail extends Wanted {
  readonly storage: StorageName
  cursor: number
}

/** From the end on, without a group: every listener reads for itself. */
export class KafkaLive implements Live {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #watch: TopicWatch
  readonly #storages: () => Promise<ReadonlyMap<StorageName, Topic>>
  readonly #open = new Set<() => void>()

  constructor(cluster: Cluster, topics: Topics, watch: TopicWatch, storages: () => Promise<ReadonlyMap<StorageName, Topic>>) {
    this.#cluster = cluster
    this.#topics = topics
    this.#watch = watch
    this.#storages = storages
  }

  async subscribe(pattern: string, listener: (batch: readonly Stored[]) => void, group?: string): Promise<{ close(): Promise<void> }> {
    if (group !== undefined) throw new BusError('unsupported', 'Kafka stores all that is published: share it by a durable group')
    const matches = matcher(pattern)
    const tails = new Map<StorageName, Tail[]>()
    const fetcher = new Fetcher<Tail>(this.#cluster, {
      wanted: () => {
        for (const [storage, own] of tails) grow(storage, own)
        return [...tails.values()].flat()
      },
      take: (tail, { records, next }) => {
        tail.cursor = Math.max(tail.cursor, next)
        const batch = records
          .map((record) => decodeRecord(record, tail.storage, tail.partition, `${tail.partition}:${record.offset}`))
          .filter(({ name }) => matches(name))
        if (batch.length > 0) listener(batch)
      },
      replaced: ({ storage }) => {
        tails.delete(storage)
        old.delete(storage)
        later(storage)
      },
      unreadable: () => {},
      outOfRange: async (tail) => {
        const topic = await this.#topics.existing(tail.storage)
        const start = (await listOffsets(this.#cluster, topic, 'start'))[tail.partition]!
        const end = (await listOffsets(this.#cluster, topic, 'end'))[tail.partition]!
        tail.cursor = Math.min(end, Math.max(start, tail.cursor))
      },
    })
    const tailOf = (storage: StorageName, { name, id }: Topic, partition: number, cursor: number): Tail => ({
      storage,
      topic: name,
      topicId: id,
      partition,
      cursor,
    })
    /** Partitions that were added since: nothing of them has been read. */
    const grow = (storage: StorageName, own: Tail[]): void => {
      const topic = own[0] && this.#cluster.known(own[0].topic)
      if (topic?.id !== own[0]?.topicId) return
      while (topic && own.length < topic.leaders.length) own.push(tailOf(storage, topic, own.length, 0))
    }
    const follow = async (storage: StorageName, topic: Topic, from: Place): Promise<void> => {
      if (tails.has(storage) || isPrivate(storage)) return
      tails.set(storage, [])
      try {
        const places = await listOffsets(this.#cluster, topic, from)
        tails.set(
          storage,
          places.map((cursor, partition) => tailOf(storage, topic, partition, cursor)),
        )
        fetcher.wake()
      } catch (error) {
        tails.delete(storage)
        throw error
      }
    }
    /** What is there now is followed from here on, whenever it can be; what comes later from its beginning. */
    const since = Date.now()
    const old = new Set<StorageName>()
    const later = (storage: StorageName): void => {
      const following = this.#topics
        .existing(storage)
        .then((topic) => follow(storage, topic, old.has(storage) ? { timeMs: since } : 'start'))
      following.catch(() => this.#watch.gone(storage)) // it is told again
    }
    try {
      // One that is named is there from now on, so that nothing is missed of it.
      if (!isPattern(pattern)) await follow(pattern, await this.#topics.ensure(pattern), 'end')
      for (const [storage, topic] of await this.#storages()) {
        if (!overlaps(storage, pattern)) continue
        old.add(storage)
        // One that cannot be read now holds up no other.
        await follow(storage, topic, 'end').catch(() => {})
      }
    } catch (error) {
      fetcher.end()
      throw kafkaError(error, `topic '${pattern}'`)
    }
    const unwatch = this.#watch.watch((storage) => {
      if (overlaps(storage, pattern)) later(storage)
    })
    const end = (): void => {
      unwatch()
      fetcher.end()
      tails.clear()
      this.#open.delete(end)
    }
    this.#open.add(end)
    return { close: async () => end() }
  }

  close(): void {
    for (const end of [...this.#open]) end()
  }
}
