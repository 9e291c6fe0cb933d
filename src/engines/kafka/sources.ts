import { BusError } from '../../errors.ts'
import type { Source, StorageName } from '../engine.ts'
import type { Said } from './assigning.ts'
import type { Cluster, Topic } from './cluster.ts'
import type { Groups, Present } from './groups.ts'
import { admit, type Membership } from './offsets.ts'
import type { Topics } from './topics.ts'

/** A topic that a member reads. */
export interface Joined {
  readonly source: Source
  readonly topic: Topic
  /** The group stands somewhere in it. */
  admitted: boolean
  /** Where it begins where it does not. */
  from: Source['from']
  /** Nobody of the group reads it with another filter: looked at in a round that this member was in. */
  agreed: boolean
}

/** What one member of a group reads. */
export class Sources {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #group: string
  readonly #identity: () => Membership
  readonly #joined = new Map<StorageName, Joined>()

  constructor(cluster: Cluster, topics: Topics, groups: Groups, group: string, identity: () => Membership) {
    this.#cluster = cluster
    this.#topics = topics
    this.#groups = groups
    this.#group = group
    this.#identity = identity
  }

  /** @throws BusError `filter_conflict`, and what keeps its topic from being there */
  async take(source: Source): Promise<Joined> {
    const topic = await this.#topics.ensure(source.storage)
    const joined: Joined = { source, topic, admitted: false, from: source.from, agreed: false }
    // Whoever is in the group and has not said yet what it reads is looked at once this one is in, too.
    for (const member of await this.#groups.present(this.#group))
      if (!member.joining && this.#disagrees(joined, member)) throw this.#conflict(joined, member)
    this.#joined.set(source.storage, joined)
    return joined
  }

  drop(storage: StorageName): void {
    this.#joined.delete(storage)
  }

  /** By its topic. */
  get(topic: string): Joined | undefined {
    for (const joined of this.#joined.values()) if (joined.topic.name === topic) return joined
    return undefined
  }

  all(): Joined[] {
    return [...this.#joined.values()]
  }

  says(owned: Said['owned']): { topics: string[]; said: Said } {
    const said = { lanes: {} as Record<string, string>, filters: {} as Record<string, string>, undecided: [] as string[], owned }
    const topics: string[] = []
    for (const { source, topic, agreed } of this.#joined.values()) {
      topics.push(topic.name)
      said.lanes[topic.name] = source.lanes
      if (source.filter !== undefined) said.filters[topic.name] = source.filter
      if (!agreed) said.undecided.push(topic.name)
    }
    return { topics, said }
  }

  // ── where the group begins ────────────────────────────────────────────────────────────────────────────────────────

  /** False: only a member may say where, or not at this moment. */
  async admit(joined: Joined): Promise<boolean> {
    const topic = this.#cluster.known(joined.topic.name) ?? joined.topic
    joined.admitted ||= await admit(this.#cluster, this.#group, this.#identity(), topic, joined.from)
    return joined.admitted
  }

  /** @throws BusError also where the group changes and changes */
  async admitSoon(joined: Joined): Promise<void> {
    await this.#cluster.patiently(`group '${this.#group}'`, async () => {
      if (!(await this.admit(joined))) throw new BusError('engine_unavailable', `group '${this.#group}' changes at the moment`)
    })
  }

  // ── one filter ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A member of another client has come: it reads all there is. */
  doubt(): void {
    for (const joined of this.#joined.values()) joined.agreed &&= joined.source.filter === undefined
  }

  /** Something is to be agreed on, or to be begun somewhere. */
  get unsettled(): boolean {
    return this.all().some(({ agreed, admitted }) => !agreed || !admitted)
  }

  /**
   * Members with different filters would acknowledge each other's messages unseen. Each looks once it is in: of two that come
   * at the same moment the one with the greater id goes, else the one that came later. `stands`: whether the round that was
   * looked at is still the newest; what was seen of an older one says nothing.
   */
  async agree(stands: () => boolean): Promise<{ readonly joined: Joined; readonly error: BusError }[]> {
    if (this.all().every(({ agreed }) => agreed)) return []
    const { memberId } = this.#identity()
    const others = (await this.#groups.present(this.#group)).filter(({ id }) => id !== memberId)
    if (!stands()) return []
    if (others.some(({ joining }) => joining)) throw new BusError('engine_unavailable', `group '${this.#group}' changes at the moment`)
    const conflicts = []
    for (const joined of this.all()) {
      if (joined.agreed) continue
      const { name } = joined.topic
      const stronger = others.find(
        (member) => this.#disagrees(joined, member) && (!member.said?.undecided?.includes(name) || member.id < memberId),
      )
      if (stronger) conflicts.push({ joined, error: this.#conflict(joined, stronger) })
      else joined.agreed = true
    }
    return conflicts
  }

  #disagrees({ source, topic }: Joined, { topics, said, hidden }: Present): boolean {
    return (hidden || topics.includes(topic.name)) && said?.filters[topic.name] !== source.filter
  }

  #conflict({ source: { storage, filter }, topic }: Joined, { said }: Present): BusError {
    const other = said ? (said.filters[topic.name] ?? 'none') : 'none, by a member of another client'
    return new BusError(
      'filter_conflict',
      `group '${this.#group}' reads '${storage}' with filter ${other}, not ${filter ?? 'none'}; use another group name`,
    )
  }
}
