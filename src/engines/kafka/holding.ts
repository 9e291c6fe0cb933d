import { setTimeout as sleep } from 'node:timers/promises'
import { BusError } from '../../errors.ts'
import { Backoff } from '../backoff.ts'
import type { Delivery, DeliverySink } from '../engine.ts'
import { type Said, unitsOf } from './assigning.ts'
import type { Cluster } from './cluster.ts'
import type { Committing } from './committing.ts'
import { isTransient, kafkaError } from './failure.ts'
import type { Membership, Outcome } from './membership.ts'
import { listOffsets, readCommitted } from './offsets.ts'
import { Part } from './part.ts'
import type { Joined, Sources } from './sources.ts'
import { beginningOf, commitsOf, type Troubles } from './troubles.ts'

/** Between two looks whether what is to go has been settled. */
const lookMs = 50
/** The same while the member closes: each time is a round. What has ended by then goes as the member leaves. */
const drainLookMs = 500
const againMs = 100
/** What may not be begun is tried again ever more seldom. */
const lastAgainMs = 5000

/** What works with the parts of a member. */
export interface Means {
  readonly cluster: Cluster
  readonly group: string
  readonly parts: Map<string, Part>
  readonly sources: Sources
  readonly membership: Membership
  readonly committing: Committing
  readonly sink: DeliverySink
  readonly troubles: Troubles
  laneOf(delivery: Delivery): string | undefined
  /** Something can be read that could not. */
  wake(): void
}

/** The partitions of one member: begun with a round of its group, given up with another. */
export class Holding {
  readonly #means: Means
  readonly #handoverMs: number
  readonly #ready = Promise.withResolvers<void>()
  #started = false
  #stopped = false
  #ended = false
  #handover: NodeJS.Timeout | undefined
  #round = 0
  /** All of its group are of ours. */
  #orderly = false
  /** What the newest round gave to somebody else. */
  #gone: ReadonlySet<string> = new Set()

  constructor(means: Means) {
    this.#means = means
    this.#handoverMs = means.cluster.target.options.handoverMs ?? 10_000
    this.#ready.promise.catch(() => {})
  }

  /** Resolves once the group agrees on what is read and stands somewhere in it. Rejects where it can come to nothing. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  // ── rounds ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is said before a round. What was given and has not begun is not said to be had: somebody else may be given it now. */
  says(): { topics: string[]; amongOthers: string[]; said: Said } {
    this.#round++
    const owned: Record<string, number[]> = {}
    for (const { topic, partition } of this.#means.parts.values()) (owned[topic] ??= []).push(partition)
    const { topics, said } = this.#means.sources.says(owned)
    if (!this.#stopped) return { topics, amongOthers: topics, said }
    // By `range` what it does not say it reads is another's at once, with what is in hand.
    return { topics: [], amongOthers: Object.keys(owned), said }
  }

  /** It reads nothing any more, and keeps what is in hand. Beside members of other clients what it lets go of is theirs at once. */
  get #drains(): boolean {
    return this.#stopped && this.#orderly
  }

  assigned(partitions: ReadonlyMap<string, readonly number[]>, generation: number, how: Outcome): void {
    const round = ++this.#round
    this.#orderly = how === 'orderly'
    const { parts, sources } = this.#means
    const mine = new Set([...partitions].flatMap(([topic, own]) => own.map((partition) => `${topic}/${partition}`)))
    if (how !== 'orderly') {
      this.revoke([...parts.values()].filter((part) => how === 'missed' || !mine.has(part.scope)))
      sources.doubt()
    }
    for (const part of parts.values()) part.leaving = this.#stopped || !mine.has(part.scope)
    this.#gone = new Set([...parts.keys()].filter((scope) => this.#drains || !mine.has(scope)))
    // It had said before it was stopped that it reads them.
    if (this.#drains && mine.size > 0) this.#means.membership.rejoin()
    this.#handOver(this.#drains ? Number.POSITIVE_INFINITY : performance.now() + this.#handoverMs)
    void this.#begin(
      [...mine].filter((scope) => !parts.has(scope)),
      generation,
      round,
    )
    this.#means.wake()
  }

  lost(): void {
    // What the last round gave and has not begun is somebody else's, too.
    this.#round++
    this.revoke([...this.#means.parts.values()])
  }

  stop(): void {
    const { parts } = this.#means
    this.#stopped = true
    for (const part of parts.values()) part.leaving = true
    if (!this.#orderly) return
    clearTimeout(this.#handover)
    this.#handover = setTimeout(() => {
      this.#gone = new Set(parts.keys())
      void this.#give(this.#idle([...parts.values()]), this.#round, Number.POSITIVE_INFINITY)
    }, drainLookMs)
  }

  end(): void {
    this.#ended = true
    this.#ready.reject(new BusError('closed', 'the subscription was closed'))
    clearTimeout(this.#handover)
  }

  revoke(parts: readonly Part[]): void {
    for (const part of parts) {
      if (this.#means.parts.get(part.scope) !== part) continue
      this.#means.parts.delete(part.scope)
      this.#means.troubles.over(part.topic)
      this.#means.troubles.over(commitsOf(part.topic))
      if (!this.#ended) this.#means.sink.revoked(part.scope, part.epoch)
    }
  }

  // ── what comes ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #begin(scopes: readonly string[], generation: number, round: number): Promise<void> {
    const over = (): boolean => this.#round !== round || this.#stopped || this.#ended
    const { sources, troubles, group, wake } = this.#means
    const backoff = new Backoff({ reconnectWaitMs: againMs, reconnectMaxWaitMs: lastAgainMs })
    for (let left = scopes; !over(); ) {
      try {
        await this.#settleIn(over)
        if (over()) return
        left = await this.#beginSome(left, generation, over)
        troubles.over(beginningOf)
        wake()
        if (left.length === 0 && !sources.unsettled) return
        await sleep(backoff.next())
      } catch (error) {
        const passes = isTransient(error)
        if (!passes) this.#refusedAll(kafkaError(error, `group '${group}'`))
        await sleep(passes ? againMs : backoff.next())
      }
    }
  }

  /** Each topic for itself: one that is refused holds up no other. */
  async #settleIn(over: () => boolean): Promise<void> {
    const { sources } = this.#means
    for (const { joined, error } of await sources.agree(() => !over())) this.#disagreed(joined, error)
    for (const joined of sources.all()) {
      if (joined.admitted) continue
      try {
        await sources.admitSoon(joined)
      } catch (error) {
        if (isTransient(error)) throw error
        this.#refused(joined.topic.name, kafkaError(error, `group '${this.#means.group}'`))
      }
      if (over()) return
    }
    this.#started = true
    this.#ready.resolve()
  }

  /** To be begun later: what is refused now. */
  async #beginSome(scopes: readonly string[], generation: number, over: () => boolean): Promise<readonly string[]> {
    const { cluster, group, parts, sources, troubles } = this.#means
    const joined = new Map(sources.all().map((one) => [one.topic.name, one]))
    const places = scopes.map((scope) => {
      const cut = scope.lastIndexOf('/')
      return { scope, topic: scope.slice(0, cut), partition: Number(scope.slice(cut + 1)) }
    })
    const names = [...new Set(places.map(({ topic }) => topic))]
    if (names.length === 0) return []
    // They may have more partitions than when they were joined, or be others by the same name.
    await cluster.refresh(names)
    const topics = new Map(names.flatMap((name) => (cluster.known(name) ? [[name, cluster.known(name)!] as const] : [])))
    const { stands, refused } = await readCommitted(cluster, group, [...topics.values()])
    for (const [name, errorCode] of refused) this.#refused(name, kafkaError(new cluster.kafka.ProtocolError(errorCode), `topic '${name}'`))
    const starts = new Map<string, number[]>()
    const left: string[] = []
    for (const { scope, topic, partition } of places) {
      const now = topics.get(topic)
      const own = joined.get(topic)
      if (!now || !own || parts.has(scope)) continue
      if (!own.admitted || refused.has(topic)) {
        left.push(scope)
        continue
      }
      let from = stands.get(topic)?.get(partition)
      if (!from) {
        // A partition that was added since: nothing of it has been read.
        if (!starts.has(topic)) starts.set(topic, await listOffsets(cluster, now, 'start'))
        from = { offset: starts.get(topic)![partition] ?? 0, metadata: '' }
      }
      if (over()) return []
      troubles.over(topic)
      const place = { topic, topicId: now.id, partition, source: own.source, epoch: generation }
      const part = new Part(place, from, this.#means.laneOf)
      parts.set(scope, part)
      this.#means.sink.assigned(scope, generation)
    }
    return left
  }

  #refused(what: string, error: BusError): void {
    if (!this.#started) this.#ready.reject(error)
    else this.#means.troubles.set(what, `topic '${what}' cannot be read, and is tried again: ${error.message}`)
  }

  /** No topic's alone. */
  #refusedAll(error: BusError): void {
    if (!this.#started) this.#ready.reject(error)
    else this.#means.troubles.set(beginningOf, `what this member was given cannot be begun, and is tried again: ${error.message}`)
  }

  #disagreed({ source, topic }: Joined, error: BusError): void {
    if (!this.#started) {
      this.#ready.reject(error)
      return
    }
    const { sources, parts, troubles, membership } = this.#means
    sources.drop(source.storage)
    this.revoke([...parts.values()].filter((part) => part.topic === topic.name))
    troubles.set(topic.name, `topic '${topic.name}' is not read any more: ${error.message}`)
    membership.rejoin()
  }

  // ── what goes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Parts that are to go, once what is in hand of them is settled, or their time is over. */
  #handOver(deadline: number): void {
    clearTimeout(this.#handover)
    const leaving = [...this.#means.parts.values()].filter((part) => this.#gone.has(part.scope))
    if (leaving.length === 0 || this.#ended) return
    const late = performance.now() >= deadline
    // What no handler runs on is not waited for: it may be minutes before its next try.
    for (const { scope, inHand } of leaving) if (inHand > 0 && !late) this.#means.sink.leaving(scope)
    const ready = late ? leaving : this.#idle(leaving)
    if (ready.length === leaving.length || (this.#drains && ready.length > 0)) {
      void this.#give(ready, this.#round, deadline)
      return
    }
    this.#handover = setTimeout(() => this.#handOver(deadline), this.#drains ? drainLookMs : lookMs)
  }

  /** Those of which nothing is in hand, nor of others that may hold their keys. */
  #idle(parts: readonly Part[]): Part[] {
    const { sources, cluster } = this.#means
    const byLanes = Map.groupBy(sources.all(), ({ source }) => source.lanes)
    const unitOf = ({ source: { lanes }, partition }: Part): string => {
      const counts = byLanes.get(lanes)?.map(({ topic: { name } }) => cluster.known(name)?.leaders.length ?? 1)
      return `${lanes}/${partition % unitsOf(counts ?? [1])}`
    }
    const busy = new Set(parts.filter(({ inHand }) => inHand > 0).map(unitOf))
    return parts.filter((part) => !busy.has(unitOf(part)))
  }

  /** With what is settled of them: uncommitted, the next owner would handle it again. */
  async #give(parts: readonly Part[], round: number, deadline: number): Promise<void> {
    while (!(await this.#committed()) && performance.now() < deadline) {
      await sleep(againMs)
      // A newer round says anew what is to go.
      if (this.#round !== round || this.#ended) return
    }
    this.revoke(parts.filter((part) => this.#gone.has(part.scope)))
    if (!this.#ended) this.#means.membership.rejoin()
  }

  #committed(): Promise<boolean> {
    return this.#means.committing.commit().then(
      () => true,
      () => false,
    )
  }
}
