import { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import { isPattern, matcher, overlaps } from '../../topic/pattern.ts'
import type { Live, StorageName, Stored } from '../engine.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster, Topic } from './cluster.ts'
import { Fetcher, type Wanted } from './fetching.ts'
import { listOffsets } from './offsets.ts'
import { decodeRecord } from './records.ts'
import type { Topics } from './topics.ts'

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
      wanted: () => [...tails.values()].flat(),
      take: (tail, { records, next }) => {
        tail.cursor = Math.max(tail.cursor, next)
        const batch = records
          .map((record) => decodeRecord(record, tail.storage, tail.partition, `${tail.partition}:${record.offset}`))
          .filter(({ name }) => matches(name))
        if (batch.length > 0) listener(batch)
      },
      outOfRange: async (tail) => {
        tail.cursor = (await listOffsets(this.#cluster, await this.#topics.existing(tail.storage), 'start'))[tail.partition]!
      },
    })
    const follow = async (storage: StorageName, topic: Topic, from: 'start' | 'end'): Promise<void> => {
      if (tails.has(storage) || isPrivate(storage)) return
      tails.set(storage, [])
      try {
        const places = await listOffsets(this.#cluster, topic, from)
        tails.set(
          storage,
          places.map((cursor, partition) => ({ storage, topic: topic.name, partition, cursor })),
        )
        fetcher.wake()
      } catch {
        tails.delete(storage)
      }
    }
    // One that is named is there from now on, so that nothing is missed of it.
    if (!isPattern(pattern)) await follow(pattern, await this.#topics.ensure(pattern), 'end')
    for (const [storage, topic] of await this.#storages()) if (overlaps(storage, pattern)) await follow(storage, topic, 'end')
    const unwatch = this.#watch.watch((storage) => {
      if (!overlaps(storage, pattern)) return
      this.#topics.existing(storage).then(
        (topic) => follow(storage, topic, 'start'),
        () => {},
      )
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
