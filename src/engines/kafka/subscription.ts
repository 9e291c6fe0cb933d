import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import type {
  Delivery,
  DeliverySink,
  EngineSubscription,
  Settlement,
  SettleResult,
  Source,
  StorageName,
  SubscriptionSpec,
} from '../engine.ts'
import type { Said } from './assigning.ts'
import type { Cluster, Topic } from './cluster.ts'
import { Committing } from './committing.ts'
import { isTransient, kafkaError } from './failure.ts'
import { Fetcher } from './fetching.ts'
import { Groups } from './groups.ts'
import { Membership } from './membership.ts'
import { admit, commitOffsets, committedOffsets, listOffsets } from './offsets.ts'
import { offsetOf, Part } from './part.ts'
import type { Topics } from './topics.ts'

const mostAtOnce = 200
/** What is fetched ahead of each partition, and of all. */
const aheadOfPart = 1024 * 1024
const aheadOfAll = 16 * 1024 * 1024
const announceAgainMs = 100
const lastCommitMs = 2000
/** Between two looks whether what is to go has been settled. */
const handoverLookMs = 50
/** Longer timeouts overflow into 1 ms. */
const longestTimerMs = 2 ** 31 - 1

/** One member of a group. */
export class KafkaSubscription implements EngineSubscription {
  readonly group: string
  readonly parts = new Map<string, Part>()
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #onClose: () => void
  readonly #sources = new Map<StorageName, { readonly source: Source; readonly topic: Topic }>()
  /** Where the group stands somewhere. */
  readonly #admitted = new Set<StorageName>()
  /** Made again since it was joined: all of it is new to the group. */
  readonly #remade = new Set<StorageName>()
  /** Told once. */
  readonly #unreadable = new Set<string>()
  readonly #membership: Membership
  readonly #fetcher: Fetcher<Part>
  readonly #committing: Committing
  readonly #handoverMs: number
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #messages = 0
  #bytes = 0
  #scheduled: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined
  #handover: NodeJS.Timeout | undefined
  #round = 0
  /** What the newest round gave to somebody else. */
  #gone: ReadonlySet<string> = new Set()
  #announcing = false
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, topics: Topics, spec: SubscriptionSpec, sink: DeliverySink, onClose: () => void) {
    this.group = spec.group
    this.#cluster = cluster
    this.#topics = topics
    this.#groups = new Groups(cluster)
    this.#spec = spec
    this.#sink = sink
    this.#onClose = onClose
    this.#handoverMs = cluster.target.options.handoverMs ?? 10_000
    this.#membership = new Membership(cluster, spec.group, {
      says: () => {
        // What this member was given and has not begun it does not say to have: somebody else may be given it now.
        this.#round++
        return this.#says()
      },
      assigned: (partitions, generation, how) => void this.#assigned(partitions, generation, how),
      lost: () => this.#revoke([...this.parts.values()]),
    })
    this.#committing = new Committing(cluster, spec.group, this.#membership, this.parts, (part) => this.#tellCommits(part))
    this.#fetcher = new Fetcher<Part>(cluster, {
      wanted: () => this.#wanted(),
      take: (part, { records, next }) => {
        this.#unreadable.delete(part.topic)
        part.push(records, next)
        this.#wake()
      },
      outOfRange: (part) => this.#outOfRange(part),
      replaced: ({ topic }) => this.#beginAnew(topic, 'was deleted and made again; the group begins at its start'),
      unreadable: ({ topic }, error) => this.#tellUnreadable(topic, error),
    })
  }

  /** Resolves once it is a member and its group stands somewhere in each source. */
  async start(): Promise<void> {
    for (const source of this.#spec.sources) await this.#take(source)
    for (const { source, topic } of this.#sources.values())
      if (await admit(this.#cluster, this.group, this.#membership.identity, topic, source.from)) this.#admitted.add(source.storage)
    await this.#membership.start()
    // Where the group has members, only a member can say where it is to begin in what they do not read.
    await this.#admitAll()
  }

  async #take(source: Source): Promise<void> {
    const topic = await this.#topics.ensure(source.storage)
    await this.#agree(source, topic)
    this.#sources.set(source.storage, { source, topic })
  }

  /** Members with different filters would acknowledge each other's messages unseen. @throws BusError `filter_conflict` */
  async #agree({ storage, filter }: Source, topic: Topic): Promise<void> {
    for (const { said } of await this.#groups.members(this.group, topic.name)) {
      const other = said?.filters[topic.name]
      if (said && topic.name in said.lanes && other !== filter)
        throw new BusError(
          'filter_conflict',
          `group '${this.group}' reads '${storage}' with filter ${other ?? 'none'}, not ${filter ?? 'none'}; use another group name`,
        )
    }
  }

  async #admitAll(): Promise<void> {
    for (const { source, topic } of this.#sources.values()) {
      if (this.#admitted.has(source.storage)) continue
      const from = this.#remade.has(source.storage) ? 'earliest' : source.from
      await this.#cluster.patiently(`group '${this.group}'`, async () => {
        if (!(await admit(this.#cluster, this.group, this.#membership.identity, this.#cluster.known(topic.name) ?? topic, from)))
          throw new BusError('engine_unavailable', `group '${this.group}' changes at the moment`)
      })
      this.#admitted.add(source.storage)
    }
  }

  #says(): { topics: string[]; said: Said } {
    const said: Said & { lanes: Record<string, string>; filters: Record<string, string>; owned: Record<string, number[]> } = {
      lanes: {},
      filters: {},
      owned: {},
    }
    const topics: string[] = []
    for (const { source, topic } of this.#sources.values()) {
      topics.push(topic.name)
      said.lanes[topic.name] = source.lanes
      if (source.filter !== undefined) said.filters[topic.name] = source.filter
    }
    for (const { topic, partition } of this.parts.values()) (said.owned[topic] ??= []).push(partition)
    return { topics, said }
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#state === 'closed') return batch.map(() => 'lost')
    const touched = new Set<Part>()
    const results = batch.map((settlement) => this.#apply(settlement, touched))
    this.#wake()
    if (touched.size === 0) return results
    try {
      await this.#committing.commit()
    } catch (error) {
      const told = kafkaError(error, `group '${this.group}'`)
      // Between two rounds the broker takes no commit: what is still ours then is committed after it.
      if (told.code === 'forbidden') throw told
      throw new BusError('engine_unavailable', told.message, { cause: error })
    }
    return results.map((result, i) => (result === 'confirmed' ? this.#committed(batch[i]!) : result))
  }

  #apply({ kind, delivery, ...rest }: Settlement, touched: Set<Part>): SettleResult {
    const part = this.#partOf(delivery)
    if (!part) return 'lost'
    const offset = offsetOf(delivery)
    // Settled before, and the batch comes again as its commit failed: the offset may be in another run's hand by now.
    if (part.inHand.get(offset) !== delivery) {
      if (kind === 'release') return 'confirmed'
      if (kind !== 'ack' || !part.knows(offset)) return 'lost'
      touched.add(part)
      return 'confirmed'
    }
    if (kind === 'ack') {
      part.ack(offset)
      touched.add(part)
    } else if (kind === 'release') part.release(offset, Date.now() + (rest as { delayMs: number }).delayMs)
    return 'confirmed'
  }

  #partOf({ scope, fence }: Delivery): Part | undefined {
    const part = this.parts.get(scope ?? '')
    return part?.epoch === fence ? part : undefined
  }

  /** What became of an acknowledgement in the commit that is over. */
  #committed({ kind, delivery }: Settlement): SettleResult {
    if (kind !== 'ack') return 'confirmed'
    const part = this.#partOf(delivery)
    // It stands in the next one that the broker takes.
    if (part) return part.refused === undefined ? 'confirmed' : 'sent'
    // What was given away while its commit was on its way may not have been committed: its next owner begins before it.
    return this.#committing.committedOf(delivery) ? 'confirmed' : 'lost'
  }

  async add(source: Source): Promise<void> {
    if (this.#state === 'closed') throw new BusError('closed', 'the subscription is closed')
    await this.#take(source)
    await this.#admitAll()
    this.#membership.rejoin()
  }

  /** The partitions stay until close: what is in hand can still be committed. */
  async stop(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'stopped'
    for (const part of this.parts.values()) part.leaving = true
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    clearTimeout(this.#timer)
    clearTimeout(this.#handover)
    clearImmediate(this.#scheduled)
    this.#fetcher.end()
    // What is not committed by then is handled again: a broker that says nothing is not waited for.
    await within(
      lastCommitMs,
      this.#committing.commit().catch(() => {}),
    )
    await this.#membership.leave()
    this.#committing.end()
    this.#onClose()
  }

  // ── from the broker ───────────────────────────────────────────────────────────────────────────────────────────────

  async #assigned(
    partitions: ReadonlyMap<string, readonly number[]>,
    generation: number,
    how: 'orderly' | 'at once' | 'missed',
  ): Promise<void> {
    const round = ++this.#round
    const mine = new Set([...partitions].flatMap(([topic, own]) => own.map((partition) => `${topic}/${partition}`)))
    if (how !== 'orderly') this.#revoke([...this.parts.values()].filter((part) => how === 'missed' || !mine.has(part.scope)))
    for (const part of this.parts.values()) part.leaving = this.#state !== 'open' || !mine.has(part.scope)
    this.#gone = new Set([...this.parts.keys()].filter((scope) => !mine.has(scope)))
    this.#handOver(performance.now() + this.#handoverMs)
    const fresh = [...mine].filter((scope) => !this.parts.has(scope))
    if (fresh.length > 0) await this.#begin(fresh, generation, round)
    this.#wake()
  }

  async #begin(scopes: readonly string[], generation: number, round: number): Promise<void> {
    const bySource = new Map([...this.#sources.values()].map((one) => [one.topic.name, one.source]))
    for (let failed = false; ; failed = true) {
      if (failed) await new Promise((resolve) => setTimeout(resolve, 100))
      if (this.#round !== round || this.#state === 'closed') return
      try {
        // They may have more partitions than when they were joined, or be others by the same name.
        await this.#cluster.refresh([...bySource.keys()])
        const topics = new Map([...bySource.keys()].map((name) => [name, this.#cluster.known(name)]))
        await this.#admitAll()
        const stands = await committedOffsets(
          this.#cluster,
          this.group,
          [...topics.values()].filter((topic) => topic !== undefined),
        )
        const starts = new Map<string, number[]>()
        for (const scope of scopes) {
          const cut = scope.lastIndexOf('/')
          const [topic, partition] = [scope.slice(0, cut), Number(scope.slice(cut + 1))]
          const source = bySource.get(topic)
          const now = topics.get(topic)
          if (!source || !now || this.parts.has(scope)) continue
          let from = stands.get(topic)?.get(partition)
          if (!from) {
            // A partition that was added since: nothing of it has been read.
            if (!starts.has(topic)) starts.set(topic, await listOffsets(this.#cluster, now, 'start'))
            from = { offset: starts.get(topic)![partition] ?? 0, metadata: '' }
          }
          if (this.#round !== round || this.#isClosed()) return
          const place = { topic, topicId: now.id, partition, source, epoch: generation }
          this.parts.set(scope, new Part(place, from, this.#laneOf))
          this.#sink.assigned(scope, generation)
        }
        return
      } catch (error) {
        if (!isTransient(error)) this.#sink.warned(kafkaError(error, `group '${this.group}'`).message)
      }
    }
  }

  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** Parts that are to go, once what is in hand of them is settled, or their time is over. */
  #handOver(deadline: number): void {
    clearTimeout(this.#handover)
    const leaving = [...this.parts.values()].filter((part) => this.#gone.has(part.scope))
    if (leaving.length === 0 || this.#state === 'closed') return
    const late = performance.now() >= deadline
    // What no handler runs on is not waited for: it may be minutes before its next try.
    for (const { scope, inHand } of leaving) if (inHand.size > 0 && !late) this.#sink.leaving(scope)
    const ready = leaving.filter((part) => late || part.inHand.size === 0)
    if (ready.length === leaving.length) {
      void this.#give(ready)
      return
    }
    this.#handover = setTimeout(() => this.#handOver(deadline), handoverLookMs)
  }

  async #give(parts: readonly Part[]): Promise<void> {
    await this.#committing.commit().catch(() => {})
    // The round may have changed meanwhile.
    this.#revoke(parts.filter((part) => this.#gone.has(part.scope)))
    if (this.#state !== 'closed') this.#membership.rejoin()
  }

  #revoke(parts: readonly Part[]): void {
    for (const part of parts) {
      if (this.parts.get(part.scope) !== part) continue
      this.parts.delete(part.scope)
      if (this.#state !== 'closed') this.#sink.revoked(part.scope, part.epoch)
    }
  }

  #laneOf = (delivery: Delivery): string | undefined => {
    if (this.#spec.order === 'topic') return ''
    return this.#spec.order === 'key' ? delivery.key : undefined
  }

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #wanted(): readonly Part[] {
    if (this.#state !== 'open') return []
    let all = 0
    for (const { buffered } of this.parts.values()) all += buffered
    if (all >= aheadOfAll) return []
    return [...this.parts.values()].filter((part) => !part.leaving && part.buffered < aheadOfPart)
  }

  async #outOfRange(part: Part): Promise<void> {
    const { topic } = this.#sources.get(part.source.storage)!
    const start = (await listOffsets(this.#cluster, topic, 'start'))[part.partition] ?? 0
    const lost = start - part.cursor
    if (lost <= 0) {
      this.#beginAnew(topic.name, 'ends before what the group has read: its broker lost the newest; the group begins at its start')
      return
    }
    this.#sink.warned(
      `topic '${part.source.storage}', partition ${part.partition}: ${lost} messages were deleted before the group had read them; raise the retention, or the speed of the group`,
    )
    part.jump(start)
  }

  #tellCommits(part: Part): void {
    const { topic, refused } = part
    if (refused === undefined) this.#wake()
    else if (![...this.parts.values()].some((other) => other !== part && other.topic === topic && other.refused === refused))
      this.#sink.warned(`topic '${topic}': what is handled of it cannot be committed (${refused}), and is tried again; other topics go on`)
  }

  #tellUnreadable(topic: string, error: unknown): void {
    if (this.#unreadable.has(topic)) return
    this.#unreadable.add(topic)
    const why = error === undefined ? 'it is gone' : kafkaError(error, 'reading it').message
    this.#sink.warned(`topic '${topic}' cannot be read, and is tried again: ${why}`)
  }

  /** What is in hand is of a log that is no more, and so are the places that are committed. */
  #beginAnew(topic: string, why: string): void {
    const old = [...this.parts.values()].filter((part) => part.topic === topic)
    const [first] = old
    if (!first) return
    const { storage } = first.source
    this.#sink.warned(`topic '${storage}' ${why}`)
    this.#revoke(old)
    this.#remade.add(storage)
    this.#admitted.delete(storage)
    void this.#commitStart(topic, old).finally(() => this.#membership.rejoin())
  }

  /** By whoever had them: the next owner begins there. */
  async #commitStart(topic: string, old: readonly Part[]): Promise<void> {
    try {
      // One that is on its way would come after it.
      await this.#committing.commit().catch(() => {})
      const now = await this.#cluster.topic(topic)
      if (!now) return
      const starts = await listOffsets(this.#cluster, now, 'start')
      const places = new Map(
        old.flatMap(({ partition }) => (partition in starts ? [[partition, { offset: starts[partition]!, metadata: '' }]] : [])),
      )
      await commitOffsets(this.#cluster, this.group, this.#membership.identity, new Map([[topic, places]]))
    } catch {
      // The broker forgets what was committed of a topic with it: this is for what was committed since.
    }
  }

  #wake(): void {
    if (this.#state !== 'closed') this.#scheduled ??= setImmediate(this.#run)
  }

  #run = (): void => {
    this.#scheduled = undefined
    if (this.#state !== 'open') return
    const now = Date.now()
    const batch = this.#collect(now)
    if (batch.length > 0) this.#sink.deliver(batch)
    if (this.#messages > 0) this.#announce()
    this.#fetcher.wake()
    if (batch.length >= mostAtOnce) this.#wake()
    else this.#wakeWhenDue(now)
  }

  /** Tells the broker what is about to be handed out: after a crash nobody else could say what was. */
  #announce(): void {
    if (this.#announcing || ![...this.parts.values()].some((part) => part.wantsMark && part.refused === undefined)) return
    this.#announcing = true
    void this.#committing
      .commit()
      .catch(() => new Promise((resolve) => setTimeout(resolve, announceAgainMs)))
      .then(() => {
        this.#announcing = false
        this.#wake()
      })
  }

  /** From each partition in turn, so that none waits for another. */
  #collect(now: number): Delivery[] {
    const batch: Delivery[] = []
    for (let more = true; more && batch.length < mostAtOnce; ) {
      more = false
      for (const part of this.parts.values()) {
        // The last one may go beyond the bytes: one that is larger than all of them would never come.
        if (this.#messages < 1 || this.#bytes < 1) return batch
        const delivery = part.next(now)
        if (!delivery) continue
        this.#messages--
        this.#bytes -= delivery.body.byteLength
        part.take(delivery)
        batch.push(delivery)
        more = true
      }
    }
    return batch
  }

  /** `looked`: the time of the last look. What came due since then was not seen by it. */
  #wakeWhenDue(looked: number): void {
    clearTimeout(this.#timer)
    let due = Number.POSITIVE_INFINITY
    for (const part of this.parts.values()) due = Math.min(due, part.dueAt())
    if (due === Number.POSITIVE_INFINITY || due <= looked) return
    this.#timer = setTimeout(() => this.#wake(), Math.min(Math.max(0, due - Date.now()) + 1, longestTimerMs))
  }
}
