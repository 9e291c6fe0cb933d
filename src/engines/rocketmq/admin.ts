import { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import type { EngineAdmin, GroupInfo, Position, ReadFrom, Retention, StorageName, TopicInfo } from '../engine.ts'
import type { TopicWatch } from '../topic-watch.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import type { Floors } from './floors.ts'
import type { Groups } from './groups.ts'
import { type InHand, outlasting } from './joining.ts'
import { Locks } from './locks.ts'
import { isSystem, physicalName } from './names.ts'
import { findOffsets, placesOf } from './offsets.ts'
import { pull } from './pulling.ts'
import type { Topics } from './topics.ts'

export interface AdminParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly groups: Groups
  readonly floors: Floors
  readonly watch: TopicWatch
  /** What members of this process have in hand. */
  readonly handOf: (storage: StorageName, group: string) => InHand
}

export class RocketmqAdmin implements EngineAdmin {
  readonly #parts: AdminParts

  constructor(parts: AdminParts) {
    this.#parts = parts
  }

  async declare(storage: StorageName, retention?: Retention): Promise<void> {
    if (retention && Object.values(retention).some((limit) => limit !== undefined))
      throw new BusError(
        'unsupported',
        `RocketMQ keeps all topics of a broker for one time: set fileReservedTime there, and leave out the retention of '${storage}'`,
      )
    await outlasting(() => this.#parts.topics.ensure(storage))
  }

  async topics(): Promise<TopicInfo[]> {
    const { topics, cluster, floors } = this.#parts
    const found = await Promise.all(
      [...(await topics.all())].map(async ([storage, topic]): Promise<TopicInfo | undefined> => {
        const route = await cluster.route(topic)
        if (!route) return undefined
        const [starts, ends] = await Promise.all([floors.starts(route), findOffsets(cluster, topic, route.readable, 'end')])
        const counts = ends.map((end, i) => end - starts[i]!)
        const some = route.readable.flatMap((queue, i) => (counts[i]! > 0 ? { queue, start: starts[i]!, end: ends[i]! } : []))
        const edge = async (at: (one: (typeof some)[number]) => number) =>
          (await Promise.all(some.map(async (one) => (await pull(cluster, topic, one.queue, at(one))).messages[0]))).filter(
            (one) => one !== undefined,
          )
        const [first, last] = await Promise.all([edge(({ start }) => start), edge(({ end }) => end - 1)])
        const messages = counts.reduce((a, b) => a + b, 0)
        const sizes = [...first, ...last].map(({ body }) => body.length)
        return {
          storage,
          messages,
          // RocketMQ counts none by topic: by what lies at both ends.
          bytes: sizes.length === 0 ? 0 : Math.round((messages * sizes.reduce((a, b) => a + b, 0)) / sizes.length),
          firstAt: first.length === 0 ? undefined : Math.min(...first.map(({ storedMs }) => storedMs)),
          lastAt: last.length === 0 ? undefined : Math.max(...last.map(({ storedMs }) => storedMs)),
          scheduled: 0,
        }
      }),
    )
    return found.filter((one) => one !== undefined)
  }

  watchTopics(listener: (storage: StorageName) => void): () => void {
    return this.#parts.watch.watch(listener)
  }

  // ── groups ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async groups(storage: StorageName): Promise<GroupInfo[]> {
    const { cluster, groups, topics } = this.#parts
    const route = await cluster.route(physicalName(storage))
    if (!route) return []
    const names = await groups.on(route)
    const found = await Promise.all(
      names
        .filter((name) => !isSystem(name) && !/^(TOOLS_|CID_|SELF_)/.test(name))
        .map(async (name) => this.#info(storage, route, name, await topics.groupOf(name, storage))),
    )
    return found.filter((one) => one !== undefined)
  }

  async #info(storage: StorageName, route: Route, physical: string, group: string): Promise<GroupInfo | undefined> {
    const { cluster, groups, floors, handOf } = this.#parts
    const { topic, readable } = route
    const [starts, ends, members, ...stands] = await Promise.all([
      floors.starts(route),
      findOffsets(cluster, topic, readable, 'end'),
      groups.members(physical, route),
      ...readable.map((queue) => groups.committed(physical, topic, queue)),
    ])
    if (stands.every((place) => place === undefined)) return undefined
    let waiting = 0
    let behind: { readonly queue: Queue; readonly offset: number } | undefined
    for (const [i, queue] of readable.entries()) {
      const offset = Math.max(starts[i]!, stands[i] ?? starts[i]!)
      if (offset >= ends[i]!) continue
      waiting += ends[i]! - offset
      behind ??= { queue, offset }
    }
    const { count, waiting: held, beyond, oldestAt } = handOf(storage, group)
    const [first] = behind ? (await pull(cluster, topic, behind.queue, behind.offset)).messages : []
    const oldest = Math.min(oldestAt ?? Number.POSITIVE_INFINITY, first?.storedMs ?? Number.POSITIVE_INFINITY)
    return {
      storage,
      group,
      filter: undefined,
      // A broker counts what was popped as settled; what other processes have in hand nobody but they know.
      lag: Math.max(0, waiting + beyond),
      inHand: count,
      waiting: held,
      members: members.length,
      oldestMs: oldest === Number.POSITIVE_INFINITY ? undefined : Math.max(0, Date.now() - oldest),
    }
  }

  /** @throws BusError `not_found`, `conflict` */
  async #idle(storage: StorageName, group: string): Promise<{ route: Route; physical: string }> {
    const { topics, groups } = this.#parts
    const route = await topics.existing(storage)
    const physical = topics.groupName(group, storage)
    const stands = await Promise.all(route.readable.map((queue) => groups.committed(physical, route.topic, queue)))
    if (stands.every((place) => place === undefined)) throw new BusError('not_found', `no group '${group}' on '${storage}'`)
    const { length } = await groups.members(physical, route)
    if (length > 0) throw new BusError('conflict', `group '${group}' has ${length} members on '${storage}'; close them first`)
    return { route, physical }
  }

  async reset(storage: StorageName, group: string, to: ReadFrom): Promise<void> {
    const { cluster, groups, floors } = this.#parts
    const { route, physical } = await this.#idle(storage, group)
    const places = await placesOf(cluster, route.topic, route.readable, to, 1, await floors.starts(route))
    await Promise.all(
      route.readable.map(async (queue, i) => {
        await groups.commit(physical, route.topic, queue, places[i]!)
        await new Locks(groups).forget(physical, route.topic, queue)
      }),
    )
  }

  async deleteGroup(storage: StorageName, group: string): Promise<void> {
    const { groups } = this.#parts
    const { route, physical } = await this.#idle(storage, group)
    const standsIn = await groups.topicsOf(physical, route.brokers)
    const others = standsIn.filter((topic) => topic !== route.topic && !isSystem(topic) && !topic.startsWith(physicalName('_cozebus.')))
    if (others.length > 0)
      throw new BusError(
        'unsupported',
        `RocketMQ deletes a group with its places in all topics, and '${group}' stands in ${others.slice(0, 3).join(', ')} too: move it to the end instead (reset)`,
      )
    await groups.delete(physical, route.brokers, standsIn)
  }

  // ── topics ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async purge(storage: StorageName, before?: Position): Promise<number> {
    const { cluster, topics, groups, floors } = this.#parts
    const route = await topics.existing(storage)
    const starts = await floors.starts(route)
    const places = await placesOf(cluster, route.topic, route.readable, before ?? 'end', 0, starts)
    await floors.raise(route, places, starts)
    for (const group of await groups.on(route))
      await Promise.all(
        route.readable.map(async (queue, i) => {
          const stands = await groups.committed(group, route.topic, queue)
          if (stands !== undefined && stands < places[i]!) await groups.commit(group, route.topic, queue, places[i]!)
        }),
      )
    return places.reduce((sum, place, i) => sum + Math.max(0, place - starts[i]!), 0)
  }

  async deleteTopic(storage: StorageName): Promise<void> {
    const { topics, groups, watch } = this.#parts
    const route = await topics.existing(storage)
    for (const name of await groups.on(route)) {
      const { length } = await groups.members(name, route)
      if (length > 0)
        throw new BusError(
          'conflict',
          `group '${await topics.groupOf(name, storage)}' has ${length} members on '${storage}'; close them first`,
        )
    }
    await topics.delete(storage)
    if (!isPrivate(storage)) watch.gone(storage)
  }
}
