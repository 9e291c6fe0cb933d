import { BusError } from '../../errors.ts'
import type { Retention, StorageName } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { kafkaError } from './failure.ts'
import type { Groups } from './groups.ts'
import { listOffsets } from './offsets.ts'
import type { Topics } from './topics.ts'

const everyMs = 5000

interface Means {
  bytes(topic: Topic): Promise<number>
  purge(storage: StorageName, topic: Topic, starts: readonly number[], places: readonly number[]): Promise<number>
}

/**
 * Keeps topics made here to their retention, by deleting what is beyond it and before the place of every group. The broker's
 * own limits know nothing of groups, and would delete what nobody has read.
 */
export class Retaining {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #means: Means
  readonly #kept = new Map<StorageName, Retention>()
  /** By topic, the groups of the last round: one that no broker names any more is asked for by its name. */
  readonly #seen = new Map<string, string[]>()
  #timer: NodeJS.Timeout | undefined
  #warned = false
  #closed = false

  constructor(cluster: Cluster, topics: Topics, groups: Groups, means: Means) {
    this.#cluster = cluster
    this.#topics = topics
    this.#groups = groups
    this.#means = means
  }

  /** From now on, until {@link close}. */
  keep(storage: StorageName, retention: Retention): void {
    if (Object.values(retention).every((limit) => limit === undefined)) this.#kept.delete(storage)
    else this.#kept.set(storage, retention)
    if (this.#timer === undefined) this.#again()
  }

  #again(): void {
    if (this.#closed || this.#kept.size === 0) {
      this.#timer = undefined
      return
    }
    // Not all processes of a service at the same moment.
    this.#timer = setTimeout(() => void this.#round(), everyMs * (0.8 + Math.random() * 0.4)).unref()
  }

  async #round(): Promise<void> {
    for (const [storage, retention] of [...this.#kept]) {
      if (this.#closed) return
      try {
        await this.#look(storage, retention)
      } catch (thrown) {
        // Whatever it is may pass, but for this.
        const { code, message } = kafkaError(thrown, `the retention of topic '${storage}'`)
        if (code === 'not_found') this.#kept.delete(storage)
        if (code === 'forbidden' && !this.#warned) process.emitWarning(message, { type: 'CozebusWarning', code })
        this.#warned ||= code === 'forbidden'
      }
    }
    this.#again()
  }

  async #look(storage: StorageName, retention: Retention): Promise<void> {
    const topic = await this.#topics.existing(storage)
    // What the broker deletes from by itself is somebody else's.
    if (!(await this.#topics.isOurs(topic))) throw new BusError('not_found', `topic '${storage}' was not made here`)
    const [starts, ends] = [await listOffsets(this.#cluster, topic, 'start'), await listOffsets(this.#cluster, topic, 'end')]
    const limits = await this.#limits(topic, retention, starts, ends)
    if (limits.every((limit, i) => limit <= starts[i]!)) return
    const places = [...limits]
    for (const committed of (await this.#standsOn(topic)).values())
      for (const i of places.keys()) places[i] = Math.min(places[i]!, committed.get(i)?.offset ?? starts[i]!)
    if (places.some((place, i) => place > starts[i]!)) await this.#means.purge(storage, topic, starts, places)
  }

  /** Every group, or none: what one has not read whom nobody sees would be gone. */
  async #standsOn(topic: Topic): Promise<ReadonlyMap<string, ReadonlyMap<number, { readonly offset: number }>>> {
    await this.#groups.mustSeeAll()
    const stands = await this.#groups.on(topic, this.#seen.get(topic.name))
    for (const { group, hidden } of await this.#groups.reading(topic, stands)) {
      if (hidden)
        throw new BusError(
          'forbidden',
          `group '${group}' reads topics that this user may not see: it may have read nothing of '${topic.name}' yet`,
        )
      stands.set(group, new Map())
    }
    this.#seen.set(topic.name, [...stands.keys()])
    return stands
  }

  /** Where what each partition is to keep begins. Numbers and bytes are those of the topic: each partition drops its share. */
  async #limits(
    topic: Topic,
    { ageMs, messages, bytes }: Retention,
    starts: readonly number[],
    ends: readonly number[],
  ): Promise<number[]> {
    const counts = ends.map((end, i) => end - starts[i]!)
    const total = counts.reduce((sum, count) => sum + count, 0)
    if (total === 0) return [...starts]
    const tooMany = messages === undefined ? 0 : (total - messages) / total
    const tooLarge = bytes === undefined ? 0 : 1 - bytes / Math.max(1, await this.#means.bytes(topic))
    const share = Math.max(0, tooMany, tooLarge)
    const aged = ageMs === undefined ? starts : await listOffsets(this.#cluster, topic, { timeMs: Date.now() - ageMs })
    return counts.map((count, i) => Math.max(aged[i]!, starts[i]! + Math.floor(count * share)))
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
