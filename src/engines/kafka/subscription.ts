import { BusError } from '../../errors.ts'
import { longestTimerMs } from '../../message/duration.ts'
import { within } from '../../within.ts'
import type { Delivery, DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { Committing } from './committing.ts'
import { kafkaError } from './failure.ts'
import { Fetcher } from './fetching.ts'
import { Groups } from './groups.ts'
import { Holding, type Means } from './holding.ts'
import { Membership } from './membership.ts'
import type { Part } from './part.ts'
import { Renewal } from './renewal.ts'
import { Sources } from './sources.ts'
import type { Topics } from './topics.ts'
import { commitsOf, membershipOf, Troubles } from './troubles.ts'

const mostAtOnce = 200
/** What is fetched ahead of each partition; and of all that go on, and of all that are stuck. */
const aheadOfPart = 1024 * 1024
const aheadOfAll = 16 * 1024 * 1024
/** Given back, and what is held behind it. */
const mostWaitingBytes = 64 * 1024 * 1024
const announceAgainMs = 100
const lastCommitMs = 2000

/** One member of a group. */
export class KafkaSubscription implements EngineSubscription {
  readonly group: string
  readonly parts = new Map<string, Part>()
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #onClose: () => void
  readonly #troubles: Troubles
  readonly #sources: Sources
  readonly #membership: Membership
  readonly #fetcher: Fetcher<Part>
  readonly #committing: Committing
  readonly #holding: Holding
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #messages = 0
  #bytes = 0
  #scheduled: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined
  #announcing = false
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, topics: Topics, spec: SubscriptionSpec, sink: DeliverySink, onClose: () => void) {
    const { group } = spec
    const { parts } = this
    this.group = group
    this.#spec = spec
    this.#sink = sink
    this.#onClose = onClose
    this.#troubles = new Troubles((text) => sink.warned(text))
    const membership = new Membership(cluster, group, {
      says: () => this.#holding.says(),
      assigned: (partitions, generation, how) => this.#holding.assigned(partitions, generation, how),
      lost: (reason) => {
        if (parts.size > 0) sink.warned(`${reason}: what it had is somebody else's; it joins anew`)
        this.#holding.lost()
      },
      kept: (from) => {
        if (from === undefined) this.#troubles.over(membershipOf)
        else this.#troubles.set(membershipOf, `this member cannot join again, and tries on: ${from.message}`)
      },
    })
    const sources = new Sources(cluster, topics, new Groups(cluster), group, () => membership.identity)
    const committing = new Committing(cluster, group, membership, parts, (part) => this.#tellCommits(part))
    const means: Means = {
      cluster,
      group,
      parts,
      sources,
      membership,
      committing,
      sink,
      troubles: this.#troubles,
      wake: () => this.#wake(),
      laneOf: (delivery) => (spec.order === 'topic' ? '' : spec.order === 'key' ? delivery.key : undefined),
    }
    this.#holding = new Holding(means)
    const renewal = new Renewal(this.#holding, means)
    this.#membership = membership
    this.#sources = sources
    this.#committing = committing
    this.#fetcher = new Fetcher<Part>(cluster, {
      wanted: () => this.#wanted(),
      take: (part, { records, next }) => {
        this.#troubles.over(part.topic)
        part.push(records, next)
        this.#wake()
      },
      outOfRange: (part) => renewal.outOfRange(part),
      replaced: ({ topic }) => renewal.beginAnew(topic, 'was deleted and made again; the group begins at its start'),
      unreadable: ({ topic }, error) => {
        const why = error === undefined ? 'it is gone' : kafkaError(error, 'reading it').message
        this.#troubles.set(topic, `topic '${topic}' cannot be read, and is tried again: ${why}`)
      },
    })
  }

  /** Resolves once it is a member and its group stands somewhere in each source. */
  async start(): Promise<void> {
    for (const source of this.#spec.sources) {
      const joined = await this.#sources.take(source)
      await this.#sources.admit(joined)
    }
    await this.#membership.start()
    // Where the group has members, only a member can say where it is to begin in what they do not read.
    await this.#holding.ready
  }

  get trouble(): string | undefined {
    return this.#troubles.text
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#state === 'closed') return batch.map(() => 'lost')
    const results: SettleResult[] = []
    let acked = false
    for (const settlement of batch) {
      const result = this.#apply(settlement)
      results.push(result)
      acked ||= settlement.kind === 'ack' && result === 'confirmed'
    }
    this.#wake()
    if (!acked) return results
    try {
      await this.#committing.commitSoon()
    } catch (error) {
      const told = kafkaError(error, `group '${this.group}'`)
      // Between two rounds the broker takes no commit: what is still ours then is committed after it.
      if (told.code === 'forbidden') throw told
      throw new BusError('engine_unavailable', told.message, { cause: error })
    }
    for (let i = 0; i < batch.length; i++) if (results[i] === 'confirmed') results[i] = this.#committed(batch[i]!)
    return results
  }

  #apply(settlement: Settlement): SettleResult {
    const { kind, delivery } = settlement
    const part = this.#partOf(delivery)
    // It may have been committed before its partition went, without an answer to whoever settled it.
    if (!part) return kind === 'ack' && this.#committing.committedOf(delivery) ? 'confirmed' : 'lost'
    if (!part.holds(delivery)) {
      // Settled before, and the batch comes again as its commit failed: the offset may be in another run's hand by now.
      if (kind === 'release') return 'confirmed'
      return kind === 'ack' && part.knows(delivery) ? 'confirmed' : 'lost'
    }
    if (kind === 'ack') part.ack(delivery)
    else if (kind === 'release') part.release(delivery, Date.now() + settlement.delayMs)
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
    try {
      await this.#sources.admitSoon(await this.#sources.take(source))
    } catch (error) {
      // Whoever adds it tries again; until then it holds up none of the others.
      this.#sources.drop(source.storage)
      throw error
    }
    this.#membership.rejoin()
  }

  /** The partitions stay until close: what is in hand can still be committed. */
  async stop(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'stopped'
    this.#holding.stop()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    clearTimeout(this.#timer)
    clearImmediate(this.#scheduled)
    this.#holding.end()
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

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #wanted(): readonly Part[] {
    if (this.#state !== 'open') return []
    const staying = [...this.parts.values()].filter(({ leaving }) => !leaving)
    // What lies there, for hours maybe, must not use up the room of those that go on.
    return [...Map.groupBy(staying, ({ stuck }) => stuck).values()].flatMap((parts) => {
      const all = parts.reduce((sum, { buffered }) => sum + buffered, 0)
      return all < aheadOfAll ? parts.filter(({ buffered }) => buffered < aheadOfPart) : []
    })
  }

  #tellCommits({ topic, refused }: Part): void {
    const what = commitsOf(topic)
    if (refused !== undefined) {
      this.#troubles.set(
        what,
        `topic '${topic}': what is handled of it cannot be committed (${refused}), and is tried again; other topics go on`,
      )
      return
    }
    if (![...this.parts.values()].some((part) => part.topic === topic && part.refused !== undefined)) this.#troubles.over(what)
    this.#wake()
  }

  #wake(): void {
    if (this.#state !== 'closed') this.#scheduled ??= setImmediate(this.#run)
  }

  #run = (): void => {
    this.#scheduled = undefined
    if (this.#state !== 'open') return
    const now = Date.now()
    const crowded = this.#crowd()
    const batch = this.#collect(now)
    if (batch.length > 0) this.#sink.deliver(batch)
    if (this.#messages > 0) this.#announce()
    this.#fetcher.wake()
    // What was handed out of what waits may have made room.
    if (batch.length >= mostAtOnce || (crowded && batch.length > 0)) this.#wake()
    else this.#wakeWhenDue(now)
  }

  /** Whether what waits is more than the memory is to hold: then partitions of which nothing waits go on, and no others. */
  #crowd(): boolean {
    let waiting = 0
    for (const { waitingBytes } of this.parts.values()) waiting += waitingBytes
    const crowded = waiting >= mostWaitingBytes
    for (const part of this.parts.values()) part.crowded = crowded && part.waitingBytes > 0
    return crowded
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
        const delivery = part.take(now)
        if (!delivery) continue
        this.#messages--
        this.#bytes -= delivery.body.byteLength
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
