import { BusError } from '../../errors.ts'
import { isPrivate, privateTopic } from '../../topic/name.ts'
import { within } from '../../within.ts'
import type { DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import { begin } from './beginning.ts'
import type { Cluster } from './cluster.ts'
import { NsqDelivery } from './delivery.ts'
import { Finished } from './finished.ts'
import { InHand } from './in-hand.ts'
import { Leases } from './leases.ts'
import { Moves, notMineMs } from './moves.ts'
import type { Names } from './names.ts'
import { fin, req, type WireMessage } from './protocol.ts'
import type { Session } from './session.ts'
import { SourceReader } from './source-reader.ts'

/** A copy that is under way comes in a moment; where its nsqd is away nobody knows when. */
const meetWaitMs = 5000
/** A Go member gives up, in silence, on what comes more often than five times. */
const goAttempts = 4
/** One REQ holds no longer delay; the rest of it the core keeps. */
const longestDelayMs = 2 ** 31 - 1

export interface SubscriptionParts {
  readonly cluster: Cluster
  readonly names: Names
  readonly isRaw: (storage: string) => boolean
  readonly forward: (storage: string, body: Uint8Array, delayMs: number) => Promise<void>
  readonly onClose: () => void
}

/** A member of a group: what its connections bring goes to the core as far as there is credit; the rest waits here, kept alive. */
export class NsqSubscription implements EngineSubscription {
  readonly group: string
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #readers: SourceReader[] = []
  readonly #sessions = new Set<Session>()
  /** Those of private topics. */
  readonly #privates = new WeakSet<Session>()
  readonly #storages = new Set<string>()
  readonly #moves: Moves
  readonly #hand = new InHand()
  readonly #finished = new Finished()
  readonly #leases: Leases
  #scheduled = false
  /** What is on its way to the private topic. */
  readonly #passing = new Set<Promise<void>>()
  #stopping = false
  #stopped: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.group = spec.group
    this.#parts = parts
    this.#spec = spec
    this.#sink = sink
    this.#moves = new Moves({
      member: spec.member,
      leaseMs: spec.leaseMs,
      forward: parts.forward,
      privateOf: (storage) => {
        const name = isPrivate(storage) ? storage : privateTopic(storage, spec.group)
        return this.#storages.has(name) ? name : undefined
      },
    })
    this.#leases = new Leases({
      leaseMs: spec.leaseMs,
      hand: this.#hand,
      moves: this.#moves,
      finished: this.#finished,
      sessions: this.#sessions,
      // Given back it would come after what is later; and a Go member of the channel gives up on what has come five times.
      givesBack: (storage) => spec.order === 'none' && !parts.isRaw(storage),
      finish: (delivery) => this.#finish(delivery),
      giveBack: (deliveries) => this.#giveBack(deliveries),
      lose: (deliveries, why) => this.#lose(deliveries, why),
      changed: () => this.#steer(),
    })
  }

  async start(): Promise<void> {
    await Promise.all(this.#spec.sources.map((source) => this.add(source)))
  }

  async add(source: Source): Promise<void> {
    if (this.#stopping) throw new BusError('closed', 'the subscription is closed')
    const { names, cluster, isRaw } = this.#parts
    const topic = names.physical(source.storage)
    const channel = names.physical(this.#spec.group)
    const raw = isRaw(source.storage)
    const reader = new SourceReader(cluster, topic, channel, this.#spec.leaseMs, {
      joined: (session) => {
        if (isPrivate(source.storage)) this.#privates.add(session)
        this.#joined(session)
      },
      left: (session) => this.#left(session),
      refused: (session, id) => this.#leases.refused(session, id),
      message: (session, message) => this.#arrived(session, message, source.storage, raw),
    })
    this.#readers.push(reader)
    this.#storages.add(source.storage)
    try {
      await begin(cluster, { from: source.from, topic, channel, reader, closed: () => this.#stopping })
    } catch (error) {
      this.#readers.splice(this.#readers.indexOf(reader), 1)
      this.#storages.delete(source.storage)
      await reader.stop()
      throw error
    }
  }

  // ── from nsqd to the core ─────────────────────────────────────────────────────────────────────────────────────────

  #joined(session: Session): void {
    this.#sessions.add(session)
    this.#steer()
  }

  #left(session: Session): void {
    this.#sessions.delete(session)
    this.#finished.left(session)
    this.#hand.left(session)
    this.#steer()
  }

  #arrived(session: Session, message: WireMessage, storage: string, raw: boolean): void {
    const now = performance.now()
    session.came(now)
    // Not by its attempts: an nsqd that was killed reads its queue again from where it last wrote down, and counts from one.
    if (this.#finished.take(session, message.id)) {
      session.finish(message.id)
      return
    }
    const known = this.#hand.again(session, message)
    if (known?.moving === 'away') {
      session.finish(message.id)
      return
    }
    if (known && !known.session.open) {
      this.#hand.adopt(known, session, message.id, now)
      return
    }
    if (known) this.#lose([known], 'its lease ran out and nsqd has sent it again')
    const delivery = new NsqDelivery(message, storage, raw, session, this.#spec.leaseMs, now)
    const met = this.#moves.meet(delivery, session, now)
    if (met === 'done') return
    if (met !== 'new' && this.#hand.has(met.mine)) {
      // Where the original is still ours too it is done with: this stands in its place.
      if (met.mine.moving === 'sending') this.#leases.finishOriginal(met.mine)
      this.#hand.adopt(met.mine, session, message.id, now)
      return
    }
    if (delivery.tooEarlyMs > 0) {
      session.connection.send(req(message.id, Math.ceil(Math.min(longestDelayMs, delivery.tooEarlyMs))))
      return
    }
    if (this.#stopping) {
      // Not at once: it would come here again while a copy is awaited.
      session.connection.send(req(message.id, this.#moves.awaited > 0 ? notMineMs : 0))
      return
    }
    if (raw && message.attempts > goAttempts && this.#moves.can(delivery)) {
      const passing = this.#passOn(delivery).finally(() => this.#passing.delete(passing))
      this.#passing.add(passing)
      return
    }
    this.#hand.add(delivery)
    this.#schedule()
  }

  /** Once for all that came in one read of the socket. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(this.#handOn)
  }

  /** To the private topic before anybody handles it: should that one die of it, a Go member would be the next. */
  async #passOn(delivery: NsqDelivery): Promise<void> {
    this.#hand.keep(delivery)
    const passed = await this.#moves.retry(delivery, 0)
    if (passed) {
      this.#hand.settled(delivery)
      this.#finish(delivery)
      this.#steer()
    } else if (this.#hand.has(delivery)) {
      this.#hand.queue(delivery)
      this.#schedule()
    }
  }

  /** nsqd hears of it now, or when it comes again. */
  #finish({ session, wireId }: NsqDelivery): void {
    if (session.open) session.finish(wireId)
    else this.#finished.remember(session, wireId)
  }

  #handOn = (): void => {
    this.#scheduled = false
    if (this.#stopping || !this.#hand.anyWaits) return
    const batch = this.#hand.take()
    if (batch.length === 0) return
    this.#steer()
    this.#sink.deliver(batch)
  }

  grant(messages: number, bytes: number): void {
    if (this.#stopping) return
    this.#hand.grant(messages, bytes)
    this.#handOn()
    this.#steer()
  }

  /**
   * Shares the credit among the connections. NSQ's RDY is no credit but how many may be in flight at once: what is in
   * hand counts on top. Each connection may send one at least, as nobody knows where the next message is.
   */
  #steer(): void {
    const want = this.#stopping ? 0 : this.#hand.room
    const most = Math.ceil(want / Math.max(1, this.#sessions.size))
    for (const session of this.#sessions) {
      const share = Math.min(most, session.window)
      const { spare } = session
      const awaited = this.#privates.has(session) ? this.#moves.awaited : 0
      if (awaited > 0) session.allow(share + awaited)
      // Not at each message: nsqd may have a little more or less than its share.
      else if (share === 0 ? spare > 0 : spare * 2 < share || spare >= share * 2) session.allow(share)
    }
  }

  // ── from the core to nsqd ─────────────────────────────────────────────────────────────────────────────────────────

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#closed) return batch.map(() => 'lost')
    const now = performance.now()
    const results = new Array<SettleResult>(batch.length)
    const commands: [Session, Buffer][] = []
    const moves: Promise<void>[] = []
    for (let i = 0; i < batch.length; i++) results[i] = this.#settleOne(batch[i]!, now, commands, moves)
    // nsqd would fill what is freed: first it hears how much there is to be.
    this.#steer()
    for (const [session, command] of commands) session.connection.send(command)
    if (moves.length > 0) await Promise.all(moves)
    return results
  }

  #settleOne(settlement: Settlement, now: number, commands: [Session, Buffer][], moves: Promise<void>[]): SettleResult {
    const delivery = settlement.delivery as NsqDelivery
    if (!this.#hand.has(delivery) || delivery.until <= now) return 'lost'
    const { session, wireId } = delivery
    if (settlement.kind === 'extend') {
      delivery.wanted = now + settlement.leaseMs
      // Without a connection it is ours for the rest of its time all the same.
      if (session.open && delivery.moving !== 'away') this.#leases.extend(delivery, now, commands)
      return 'sent'
    }
    if (delivery.moving === 'away') {
      this.#moves.settled(delivery, settlement.kind === 'ack' ? 'drop' : { againAt: now + settlement.delayMs })
      this.#hand.settled(delivery)
      return 'sent'
    }
    // What is said is said of the original: a copy is one too many.
    if (delivery.moving === 'sending') this.#moves.settled(delivery, 'drop')
    const { storage, fence } = delivery
    if (settlement.kind === 'release' && fence >= goAttempts && session.open && this.#parts.isRaw(storage) && this.#moves.can(delivery)) {
      moves.push(this.#retryElsewhere(delivery, settlement.delayMs))
      return 'sent'
    }
    this.#hand.settled(delivery)
    if (settlement.kind === 'ack') {
      if (!session.open) this.#finished.remember(session, wireId)
      else {
        session.tell(wireId)
        commands.push([session, fin(wireId)])
      }
      return 'sent'
    }
    if (!session.open) return 'lost'
    commands.push([session, req(wireId, Math.ceil(Math.min(longestDelayMs, Math.max(0, settlement.delayMs))))])
    return 'sent'
  }

  async #retryElsewhere(delivery: NsqDelivery, delayMs: number): Promise<void> {
    const moved = await this.#moves.retry(delivery, delayMs)
    const { session, wireId } = delivery
    this.#hand.settled(delivery)
    this.#steer()
    if (moved) this.#finish(delivery)
    else session.connection.send(req(wireId, Math.ceil(delayMs)))
  }

  // ── what leaves otherwise ─────────────────────────────────────────────────────────────────────────────────────────

  #lose(lost: readonly NsqDelivery[], why: string): void {
    if (lost.length === 0) return
    this.#hand.drop(lost)
    // nsqd has the original still, and gives it to somebody: that one has the job.
    for (const delivery of lost) if (delivery.moving === 'sending') this.#moves.settled(delivery, 'drop')
    this.#steer()
    const told = lost.filter(({ handed }) => handed)
    if (told.length > 0) this.#sink.lost(told, why)
  }

  #giveBack(deliveries: readonly NsqDelivery[]): void {
    if (deliveries.length === 0) return
    this.#hand.drop(deliveries)
    this.#steer()
    for (const delivery of deliveries) {
      const { session, wireId, moving } = delivery
      if (moving === 'away') this.#moves.settled(delivery, { againAt: 0 })
      else session.connection.send(req(wireId, 0))
      if (moving === 'sending') this.#moves.settled(delivery, 'drop')
    }
  }

  get trouble(): string | undefined {
    for (const { trouble } of this.#readers) if (trouble !== undefined) return trouble
    return undefined
  }

  /** When the oldest message in hand was published, ms. */
  oldestAt(storage: string): number | undefined {
    return this.#hand.oldestAt(storage)
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    // Private topics are read on: a job that is still at work may have to go on there, as a copy that this member has to meet.
    this.#steer()
    await Promise.all([...this.#sessions].map((session) => (this.#privates.has(session) ? undefined : session.quiet())))
    await Promise.all(this.#passing)
    this.#giveBack(this.#hand.all().filter(({ handed }) => !handed))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.stop()
    // nsqd keeps what a client had that leaves, until its time is over: it has to be told.
    this.#giveBack(this.#hand.all())
    // Nobody else can settle a copy for its holder: it would be done again.
    await within(meetWaitMs, this.#moves.met())
    this.#leases.end()
    await Promise.allSettled(this.#readers.map((reader) => reader.stop()))
    this.#parts.onClose()
  }
}
