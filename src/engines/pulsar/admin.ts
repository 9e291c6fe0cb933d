import { BusError } from '../../errors.ts'
import { each } from '../each.ts'
import type { EngineAdmin, GroupInfo, ReadFrom, Retention, StorageName, TopicInfo } from '../engine.ts'
import type { TopicWatch } from '../topic-watch.ts'
import { isForbidden } from './failure.ts'
import type { History } from './history.ts'
import type { Http } from './http.ts'
import { partitionOf, withoutPartition } from './names.ts'
import { beginning, type Place, placesOf, slotOf, whole } from './places.ts'
import type { Publishing } from './publishing.ts'
import type { Topics } from './topics.ts'

export interface AdminParts {
  readonly topics: Topics
  readonly publishing: Publishing
  readonly watch: TopicWatch
  readonly http: Http | undefined
  /** There where `http` is. */
  readonly history: History | undefined
}

interface SubscriptionStats {
  readonly msgBacklog: number
  readonly msgDelayed?: number
  readonly unackedMessages: number
  readonly earliestMsgPublishTimeInBacklog?: number
  readonly consumers: readonly unknown[]
  readonly isDurable?: boolean
}
interface TopicStats {
  readonly subscriptions: Readonly<Record<string, SubscriptionStats>>
}

const together = 16

/** By the brokers' HTTP interface: what each partition says is added up. */
export class PulsarAdmin implements EngineAdmin {
  readonly #parts: AdminParts

  constructor(parts: AdminParts) {
    this.#parts = parts
  }

  get #http(): Http {
    const { http } = this.#parts
    if (!http)
      throw new BusError(
        'unsupported',
        "Pulsar tells this over HTTP only, and nobody answers there: set pulsar.admin to its address, like 'http://host:8080'",
      )
    return http
  }

  async declare(storage: StorageName, retention?: Retention): Promise<void> {
    const [first] = await this.#parts.topics.ensure(storage)
    const { ageMs, messages, bytes } = retention ?? {}
    if (messages !== undefined)
      throw new BusError('unsupported', `Pulsar keeps by age and size: leave out retention.messages of '${storage}'`)
    if (ageMs === undefined && bytes === undefined) return
    // Of what every group has settled: what one has not is kept anyway.
    await this.#http.ask('POST', `${this.#parts.topics.path(withoutPartition(first!))}/retention`, {
      retentionTimeInMinutes: ageMs === undefined ? -1 : Math.ceil(ageMs / 60_000),
      retentionSizeInMB: bytes === undefined ? -1 : Math.ceil(bytes / 1_048_576),
    })
  }

  /** What is stored, settled or not. Without HTTP nobody knows: 0. When the first of it was published only reading it would tell. */
  async topics(): Promise<TopicInfo[]> {
    const { topics, history } = this.#parts
    return each([...(await topics.all())], together, async ([storage, { parts }]): Promise<TopicInfo> => {
      const held = history ? await Promise.all(parts.map((part) => history.holdings(part))) : []
      return {
        storage,
        messages: held.reduce((sum, { entries }) => sum + entries, 0),
        bytes: held.reduce((sum, { bytes }) => sum + bytes, 0),
        firstAt: undefined,
        lastAt: undefined,
        scheduled: 0,
      }
    })
  }

  watchTopics(listener: (storage: StorageName) => void): () => void {
    return this.#parts.watch.watch(listener)
  }

  async #stats(storage: StorageName): Promise<Map<string, TopicStats>> {
    const { topics } = this.#parts
    const found = (await topics.all()).get(storage)
    if (!found) return new Map()
    const query = 'getPreciseBacklog=true&subscriptionBacklogSize=false&getEarliestTimeInBacklog=true'
    return new Map(
      await Promise.all(
        found.parts.map(
          async (part) => [part, (await this.#http.ask('GET', `${topics.path(part)}/stats?${query}`)) as TopicStats] as const,
        ),
      ),
    )
  }

  async groups(storage: StorageName): Promise<GroupInfo[]> {
    const found = new Map<string, GroupInfo>()
    for (const { subscriptions } of (await this.#stats(storage)).values())
      for (const [group, one] of Object.entries(subscriptions)) {
        if (one.isDurable === false) continue
        const before = found.get(group)
        const { msgBacklog, msgDelayed = 0, unackedMessages, earliestMsgPublishTimeInBacklog: earliest = 0 } = one
        const age = msgBacklog > 0 && earliest > 0 ? Math.max(0, Date.now() - earliest) : undefined
        found.set(group, {
          storage,
          group,
          filter: undefined,
          lag: (before?.lag ?? 0) + msgBacklog,
          inHand: (before?.inHand ?? 0) + Math.max(0, unackedMessages),
          waiting: (before?.waiting ?? 0) + msgDelayed,
          members: Math.max(before?.members ?? 0, one.consumers.length),
          oldestMs: age === undefined ? before?.oldestMs : Math.max(age, before?.oldestMs ?? 0),
        })
      }
    return [...found.values()]
  }

  /** Where the group is. @throws BusError `not_found`, `conflict` */
  async #idle(storage: StorageName, group: string): Promise<string[]> {
    const parts: string[] = []
    for (const [part, { subscriptions }] of await this.#stats(storage)) {
      const one = subscriptions[group]
      if (!one) continue
      if (one.consumers.length > 0) throw hasMembers(group, one.consumers.length)
      parts.push(part)
    }
    if (parts.length === 0) throw new BusError('not_found', `no group '${group}' on '${storage}'`)
    return parts
  }

  async reset(storage: StorageName, group: string, to: ReadFrom): Promise<void> {
    const parts = await this.#idle(storage, group)
    const places = typeof to === 'string' && to !== 'start' && to !== 'end' ? placesOf(to, parts.map(partitionOf)) : []
    await each(parts, together, (part) => {
      const subscription = this.#subscription(part, group)
      if (to === 'end') return this.#http.ask('POST', `${subscription}/skip_all`)
      if (typeof to === 'object') return this.#http.ask('POST', `${subscription}/resetcursor/${Math.max(0, Math.floor(to.timeMs))}`)
      return this.#http.ask('POST', `${subscription}/resetcursor`, cursorAt(places[slotOf(partitionOf(part))] ?? beginning))
    })
  }

  async deleteGroup(storage: StorageName, group: string): Promise<void> {
    for (const part of await this.#idle(storage, group)) await this.#http.ask('DELETE', this.#subscription(part, group))
  }

  async purge(storage: StorageName, before?: string): Promise<number> {
    const stats = await this.#stats(storage)
    if (stats.size === 0) throw new BusError('not_found', `no topic '${storage}'`)
    if (before !== undefined)
      throw new BusError('unsupported', 'Pulsar deletes whole files of what it stores: everything can be purged only')
    let purged = 0
    for (const part of stats.keys()) purged += await this.#empty(storage, part)
    return purged
  }

  async #empty(storage: StorageName, part: string): Promise<number> {
    const path = this.#parts.topics.path(part)
    try {
      // There where HTTP is, which has been asked by now.
      const { entries } = await this.#parts.history!.holdings(part)
      // What lies in the file that is being written stays: loaded anew it has another one.
      await this.#http.ask('PUT', `${path}/unload`)
      // Groups are moved to the end by that.
      await this.#http.ask('DELETE', `${path}/truncate`)
      return entries
    } catch (error) {
      if (!isForbidden(error)) throw error
      throw new BusError('forbidden', `'${storage}' may not be purged by this role; a tenant's admin may: ${error.message}`, {
        cause: error,
      })
    }
  }

  async deleteTopic(storage: StorageName): Promise<void> {
    const { topics, publishing, watch } = this.#parts
    const stats = await this.#stats(storage)
    if (stats.size === 0) throw new BusError('not_found', `no topic '${storage}'`)
    for (const { subscriptions } of stats.values())
      for (const [group, { consumers, isDurable }] of Object.entries(subscriptions))
        if (consumers.length > 0 && isDurable !== false) throw hasMembers(group, consumers.length)
    const [first] = stats.keys()
    const topic = withoutPartition(first!)
    for (const part of stats.keys()) publishing.drop(part)
    // By force: those who have published to it lately still have a hold on it.
    await this.#http.ask('DELETE', `${topics.path(topic)}${topic === first ? '' : '/partitions'}?force=true`)
    topics.forget(storage)
    watch.gone(storage)
  }

  #subscription(part: string, group: string): string {
    return `${this.#parts.topics.path(part)}/subscription/${encodeURIComponent(group)}`
  }
}

/** A group that is moved goes on behind the place. */
function cursorAt({ ledger, entry, batch }: Place): object {
  if (ledger < 0) return { ledgerId: -1, entryId: -1 }
  if (entry < 0) return { ledgerId: ledger, entryId: 0 }
  return { ledgerId: ledger, entryId: entry, batchIndex: batch === whole ? -1 : batch, excluded: true }
}

function hasMembers(group: string, count: number): BusError {
  return new BusError('conflict', `group '${group}' has ${count} members; close them first`)
}
