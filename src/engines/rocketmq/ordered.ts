import { BusError, toBusError } from '../../errors.ts'
import { longestTimerMs } from '../../message/duration.ts'
import { within } from '../../within.ts'
import type { Delivery, DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import { Balancing } from './balancing.ts'
import type { Pool } from './connection.ts'
import { unavailable } from './failure.ts'
import { ownerId } from './groups.ts'
import type { InHand, SubscriptionParts } from './joining.ts'
import { returnMsOf } from './options.ts'
import { Ownership } from './ownership.ts'
import { Presence } from './presence.ts'
import { PullingAhead } from './pulling-ahead.ts'
import { offsetOf, type QueuePart } from './queue-part.ts'
import { Telling } from './telling.ts'

const mostAtOnce = 200
const shareMs = 1000
const againMs = 200
const endMs = 3000

/**
 * A member of a group that keeps order: queues are owned by one member at a time, and a key is always in one queue. What is
 * pulled of them goes to the core as far as there is credit, and what the core has settled is told to their brokers.
 */
export class OrderedSubscription implements EngineSubscription {
  readonly group: string
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #onClose: () => void
  readonly #pool: Pool
  readonly #presence: Presence
  readonly #balancing: Balancing
  readonly #ownership: Ownership
  readonly #telling: Telling
  readonly #ahead: PullingAhead
  readonly #troubles = new Map<string, string>()
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #messages = 0
  #bytes = 0
  #scheduled: NodeJS.Immediate | undefined
  #due: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.group = spec.group
    this.#spec = spec
    this.#sink = sink
    this.#onClose = parts.onClose
    const { groups, cluster } = parts
    const pool = cluster.newPool()
    this.#pool = pool
    const owner = ownerId(spec.member)
    const returnMs = returnMsOf(cluster.options)
    const readings = () => [...this.#balancing.readings.values()]
    const presence = new Presence(pool, spec.member, readings)
    this.#presence = presence
    const isOurs = (part: QueuePart): boolean => this.#ownership.isOurs(part)
    const beganAnew = (part: QueuePart) => this.#ownership.beganAnew(part)
    const state = () => this.#state
    const wake = () => this.#wake()
    const trouble = (topic: string, error: unknown) => this.#troubled(topic, error)
    this.#telling = new Telling(groups, isOurs)
    this.#ahead = new PullingAhead({ pool, owned: () => this.#ownership.owned.values(), isOurs, beganAnew, state, wake, trouble })
    this.#ownership = new Ownership({
      cluster,
      groups,
      pool,
      owner,
      presence,
      telling: this.#telling,
      sink,
      laneOf: this.#laneOf,
      handoverMs: cluster.options.handoverMs ?? 10_000,
      returnMs,
      state,
      began: (part) => void this.#ahead.pull(part),
      ended: (part) => this.#ahead.resume(part),
      wake,
      again: (topic, error) => {
        this.#balancing.runIn(againMs)
        trouble(topic, error)
      },
    })
    this.#balancing = new Balancing({
      ...parts,
      owner,
      returnMs,
      presence,
      ownership: this.#ownership,
      isOpen: () => this.#state === 'open',
      trouble,
    })
    pool.onMembers = () => void this.#balancing.run()
    pool.onLoss = (address) => {
      for (const { departed } of readings()) departed.beginAnew()
      this.#ownership.lostBroker(address)
    }
  }

  get trouble(): string | undefined {
    return this.#troubles.size === 0 ? undefined : [...this.#troubles.values()].join('; ')
  }

  /** What may be mended by waiting is health's to tell; `undefined`: it comes again. */
  #troubled(topic: string, thrown: unknown): void {
    if (thrown === undefined) {
      this.#troubles.delete(topic)
      return
    }
    const error = toBusError(thrown, 'engine_unavailable')
    if (!error.retryable && error.code !== 'closed') this.#troubles.set(topic, `nothing comes from topic '${topic}': ${error.message}`)
  }

  async start(): Promise<void> {
    for (const source of this.#spec.sources) await this.add(source)
    // With its share where the others have nothing of it in hand: who begins with none has to be given it later.
    for (const until = performance.now() + shareMs; !this.#balancing.hasShare && this.#state === 'open' && performance.now() < until; )
      await new Promise((resolve) => setTimeout(resolve, 20))
  }

  async add(source: Source): Promise<void> {
    this.#mustBeOpen()
    if (!this.#balancing.readings.has(source.storage)) await this.#balancing.add(this.group, source, () => this.#mustBeOpen())
  }

  #mustBeOpen(): void {
    if (this.#state !== 'open') throw new BusError('closed', 'the subscription is closed')
  }

  // ── to the core ───────────────────────────────────────────────────────────────────────────────────────────────────

  #laneOf = (delivery: Delivery): string | undefined => {
    if (this.#spec.order === 'topic') return ''
    return delivery.key
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
    this.#ahead.resumeSome()
    // What an owner before had settled is passed over, and nobody will settle it again.
    for (const part of this.#ownership.owned.values())
      if (part.inHand.size === 0 && part.floor > part.committed && !part.doubtful && !part.committing)
        void this.#telling.commit(part).catch(() => {})
    if (batch.length >= mostAtOnce) this.#wake()
    else this.#wakeWhenDue(now)
  }

  /** From each queue in turn, so that none waits for another. */
  #collect(now: number): Delivery[] {
    const batch: Delivery[] = []
    for (let more = true; more && batch.length < mostAtOnce; ) {
      more = false
      for (const part of this.#ownership.owned.values()) {
        if (this.#messages < 1 || this.#bytes <= 0) return batch
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
    clearTimeout(this.#due)
    let due = Number.POSITIVE_INFINITY
    for (const part of this.#ownership.owned.values()) due = Math.min(due, part.dueAt())
    if (due === Number.POSITIVE_INFINITY || due <= looked) return
    this.#due = setTimeout(() => this.#wake(), Math.min(Math.max(0, due - Date.now()) + 1, longestTimerMs))
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#state === 'closed') return batch.map(() => 'lost')
    // Who was stopped for long speaks before its timers do.
    this.#ownership.mindTheTime()
    const touched = new Set<QueuePart>()
    const results = batch.map((settlement) => this.#apply(settlement, touched))
    this.#wake()
    if (touched.size === 0) return results
    try {
      await Promise.all([...touched].map((part) => this.#telling.commit(part)))
    } catch (error) {
      throw unavailable(error)
    }
    // What was given away while its commit was on its way may not have been committed: its next owner begins before it.
    return results.map((result, i) => (batch[i]!.kind === 'ack' && !this.#partOf(batch[i]!.delivery) ? 'lost' : result))
  }

  #apply(settlement: Settlement, touched: Set<QueuePart>): SettleResult {
    const { kind, delivery } = settlement
    const part = this.#partOf(delivery)
    if (!part) return 'lost'
    const offset = offsetOf(delivery)
    if (!part.inHand.has(offset)) {
      if (kind !== 'ack' || !part.isSettled(offset)) return 'lost'
      touched.add(part) // the answer to its commit was lost on the way
      return 'confirmed'
    }
    if (kind === 'ack') {
      part.ack(offset)
      touched.add(part)
    } else if (kind === 'release') part.release(offset, Date.now() + settlement.delayMs)
    return 'confirmed'
  }

  #partOf({ scope, fence }: Delivery): QueuePart | undefined {
    const part = this.#ownership.owned.get(scope ?? '')
    return part?.place.epoch === fence ? part : undefined
  }

  handOf(storage: string): InHand {
    let count = 0
    let waiting = 0
    let past = 0
    let oldestAt: number | undefined
    for (const part of this.#ownership.owned.values()) {
      if (part.place.source.storage !== storage) continue
      count += part.inHand.size
      waiting += part.waiting
      past += part.settledPast
      for (const { at } of part.inHand.values()) if (oldestAt === undefined || at < oldestAt) oldestAt = at
    }
    return { count, waiting, beyond: -past, oldestAt }
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The queues stay until close: what is in hand can still be settled. */
  async stop(): Promise<void> {
    if (this.#state === 'open') this.#state = 'stopped'
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'stopped'
    // What it locks in this moment has to be given back too.
    await within(endMs, this.#balancing.end())
    await within(endMs, Promise.allSettled([...this.#ownership.owned.values()].map((part) => this.#telling.last(part))))
    this.#state = 'closed'
    clearTimeout(this.#due)
    clearImmediate(this.#scheduled)
    await this.#ownership.end()
    await within(endMs, this.#presence.end())
    this.#pool.close()
    this.#onClose()
  }
}
