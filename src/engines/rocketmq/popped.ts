import { BusError } from '../../errors.ts'
import { isPrivate, privateTopic } from '../../topic/name.ts'
import { within } from '../../within.ts'
import type { DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import type { Pool } from './connection.ts'
import type { PopDelivery } from './delivery.ts'
import { unavailable } from './failure.ts'
import { Finished } from './finished.ts'
import type { InHand, SubscriptionParts } from './joining.ts'
import { PopReadings } from './pop-readings.ts'
import { Receipts } from './receipts.ts'

/** What came beyond the credit goes back after this time, for others to have it. */
const keepUnusedMs = 1000
/** A frozen broker does not hold up an end for longer. */
const endMs = 3000

/** A member of a group that takes messages one by one: what was popped goes to the core as far as there is credit. */
export class PopSubscription implements EngineSubscription {
  readonly group: string
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #pool: Pool
  readonly #receipts: Receipts
  readonly #readings: PopReadings
  /** By what is the same on each copy of a message. */
  readonly #hand = new Map<string, PopDelivery>()
  readonly #finished = new Finished()
  #buffer: PopDelivery[] = []
  #messages = 0
  #bytes = 0
  #typicalBytes = 1024
  #out = 0
  #scheduled = false
  readonly #timer: NodeJS.Timeout
  #stopped: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.group = spec.group
    this.#parts = parts
    this.#spec = spec
    this.#sink = sink
    this.#pool = parts.cluster.newPool()
    this.#receipts = new Receipts(this.#pool)
    this.#readings = new PopReadings({
      ...parts,
      pool: this.#pool,
      member: spec.member,
      leaseMs: spec.leaseMs,
      wanted: () => this.#wanted(),
      take: (deliveries) => this.#arrived(deliveries),
      discard: (broker, deliveries) => void this.#receipts.acknowledge(broker, deliveries).catch(() => {}), // it comes again
      isStopped: () => this.#stopped !== undefined,
      mustBeOpen: () => this.#mustBeOpen(),
    })
    this.#timer = setInterval(this.#look, Math.max(20, Math.min(250, spec.leaseMs / 6))).unref()
  }

  get trouble(): string | undefined {
    return this.#readings.trouble
  }

  async start(): Promise<void> {
    for (const source of this.#spec.sources) await this.add(source)
  }

  async add(source: Source): Promise<void> {
    this.#mustBeOpen()
    if (!this.#readings.has(source.storage)) await this.#readings.add(this.group, source)
  }

  #mustBeOpen(): void {
    if (this.#stopped) throw new BusError('closed', 'the subscription is closed')
  }

  // ── from the broker to the core ───────────────────────────────────────────────────────────────────────────────────

  #wanted(): number {
    if (this.#stopped || (this.#bytes <= 0 && this.#out > 0)) return 0
    const fitting = Math.max(1, Math.ceil(this.#bytes / this.#typicalBytes))
    return Math.min(this.#messages, fitting) - this.#buffer.length
  }

  #arrived(deliveries: readonly PopDelivery[]): void {
    const again: PopDelivery[] = []
    for (const delivery of deliveries) {
      if (this.#finished.has(delivery.unique)) {
        again.push(delivery)
        continue
      }
      const mine = this.#hand.get(delivery.unique)
      // The broker was killed, and gives again what is in hand: it goes on under the newer receipt.
      if (mine) {
        if (mine.settling === 'ack') again.push(delivery)
        else {
          mine.receipt = delivery.receipt
          mine.until = Math.max(mine.until, delivery.until)
        }
        continue
      }
      this.#typicalBytes = this.#typicalBytes * 0.9 + delivery.body.byteLength * 0.1
      this.#hand.set(delivery.unique, delivery)
      this.#buffer.push(delivery)
    }
    for (const [broker, own] of Map.groupBy(again, (delivery) => delivery.broker))
      void this.#receipts.acknowledge(broker, own).catch(() => {})
    if (this.#stopped) {
      void this.#giveBack([...this.#hand.values()].filter(({ handed }) => !handed))
      return
    }
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(this.#handOn)
  }

  #handOn = (): void => {
    this.#scheduled = false
    if (this.#stopped || this.#buffer.length === 0) return
    let count = 0
    while (count < this.#buffer.length && this.#messages > 0 && (this.#bytes > 0 || this.#out === 0)) {
      const delivery = this.#buffer[count++]!
      delivery.handed = true
      this.#messages--
      this.#bytes -= delivery.body.byteLength
      this.#out++
    }
    if (count === 0) return
    const batch = this.#buffer.slice(0, count)
    this.#buffer = this.#buffer.slice(count)
    this.#sink.deliver(batch)
  }

  grant(messages: number, bytes: number): void {
    if (this.#stopped) return
    this.#messages += messages
    this.#bytes += bytes
    this.#handOn()
    this.#readings.wake()
  }

  // ── from the core to the broker ───────────────────────────────────────────────────────────────────────────────────

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const now = performance.now()
    const results = new Array<SettleResult>(batch.length).fill('confirmed')
    const acks: PopDelivery[] = []
    const releases: { readonly delivery: PopDelivery; readonly delayMs: number }[] = []
    const under: Promise<void>[] = []
    for (let i = 0; i < batch.length; i++) {
      const settlement = batch[i]!
      const delivery = settlement.delivery as PopDelivery
      if (!this.#has(delivery) || delivery.until <= now || this.#closed) {
        if (!delivery.settled) results[i] = 'lost'
        continue
      }
      if (settlement.kind === 'extend') under.push(this.#extend(delivery, settlement.leaseMs))
      else if (settlement.kind === 'ack') acks.push(delivery)
      else releases.push({ delivery, delayMs: settlement.delayMs })
    }
    if (releases.length > 0) under.push(this.#release(releases))
    if (acks.length > 0) under.push(this.#acknowledge(acks))
    await allOf(under)
    return results
  }

  /**
   * One at a time of each: a change under a receipt that another change has replaced makes a second copy of the message, and so
   * does an acknowledgement under one. What is being settled needs no more time.
   */
  #extend(delivery: PopDelivery, leaseMs: number): Promise<void> {
    if (delivery.settling) return Promise.resolve()
    const until = performance.now() + leaseMs / 2
    if (delivery.changing) return delivery.changing.then(() => (delivery.until < until ? this.#extend(delivery, leaseMs) : undefined))
    delivery.changing = this.#change(delivery, leaseMs).finally(() => {
      delivery.changing = undefined
    })
    return delivery.changing
  }

  async #change(delivery: PopDelivery, leaseMs: number): Promise<void> {
    const askedAt = performance.now()
    await this.#receipts.change(delivery, leaseMs)
    delivery.until = askedAt + leaseMs
  }

  /** @throws BusError `engine_unavailable`, `forbidden`; what got through is settled all the same */
  async #acknowledge(deliveries: readonly PopDelivery[]): Promise<void> {
    await allOf(
      [...Map.groupBy(deliveries, ({ broker }) => broker)].map(async ([broker, own]) => {
        for (const delivery of own) delivery.settling = 'ack'
        try {
          await changed(own)
          await this.#receipts.acknowledge(broker, own)
          for (const delivery of own) {
            this.#finished.add(delivery.unique)
            this.#done(delivery)
          }
        } finally {
          for (const delivery of own) delivery.settling = undefined
        }
      }),
    )
  }

  /**
   * A copy that waits in the private topic of the group, then an end to the original: a broker that is asked to give a
   * message again takes seconds longer than it is told, and every one of the group's topics has one retry topic. A crash
   * between the two leaves both.
   */
  async #release(releases: readonly { readonly delivery: PopDelivery; readonly delayMs: number }[]): Promise<void> {
    const [copied, alone] = [
      releases.filter(({ delivery }) => this.#privateOf(delivery)),
      releases.filter(({ delivery }) => !this.#privateOf(delivery)),
    ]
    const under = alone.map(async ({ delivery, delayMs }) => {
      delivery.settling = 'release'
      try {
        await changed([delivery])
        await this.#receipts.change(delivery, delayMs)
        this.#done(delivery)
      } finally {
        delivery.settling = undefined
      }
    })
    if (copied.length > 0) under.push(this.#sendCopies(copied))
    await allOf(under)
  }

  async #sendCopies(releases: readonly { readonly delivery: PopDelivery; readonly delayMs: number }[]): Promise<void> {
    const at = Date.now()
    // What comes back before its time is held by who has it then.
    const deliverAt = (delayMs: number) => (delayMs > 0 ? at + Math.min(delayMs, this.#parts.maxDelayMs) : undefined)
    for (const { delivery } of releases) delivery.settling = 'release'
    try {
      // What was copied and could not be acknowledged then is only acknowledged: each further copy would run too.
      const fresh = releases.filter(({ delivery }) => !delivery.copied)
      const outcomes = await this.#parts.send(
        fresh.map(({ delivery, delayMs }) => delivery.copyFor(this.#privateOf(delivery)!, deliverAt(delayMs))),
        fresh.map(({ delivery }) => ({ fence: delivery.fence })),
      )
      for (const [i, { delivery }] of fresh.entries()) delivery.copied = outcomes[i]!.ok
      const sent = releases.flatMap(({ delivery }) => (delivery.copied ? delivery : []))
      const failed = outcomes.find((outcome) => !outcome.ok)
      if (sent.length > 0) await this.#acknowledge(sent)
      if (failed && !failed.ok) throw unavailable(failed.error)
    } finally {
      for (const { delivery } of releases) delivery.settling = undefined
    }
  }

  #privateOf({ storage }: PopDelivery): string | undefined {
    const name = isPrivate(storage) ? storage : privateTopic(storage, this.group)
    return this.#readings.has(name) ? name : undefined
  }

  #has(delivery: PopDelivery): boolean {
    return this.#hand.get(delivery.unique) === delivery
  }

  #done(delivery: PopDelivery): void {
    delivery.settled = true
    this.#forget(delivery)
  }

  #forget(delivery: PopDelivery): void {
    if (!this.#has(delivery)) return
    this.#hand.delete(delivery.unique)
    if (delivery.handed) this.#out--
  }

  // ── leases ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps alive what waits here; tells what ran out, as the broker never does. */
  #look = (): void => {
    const now = performance.now()
    const lost: PopDelivery[] = []
    const unused: PopDelivery[] = []
    const givesBack = this.#spec.order === 'none' && (this.#messages <= 0 || this.#bytes <= 0)
    for (const delivery of this.#hand.values()) {
      if (delivery.settling) continue
      if (delivery.until <= now) lost.push(delivery)
      else if (delivery.handed) continue
      else if (givesBack && delivery.arrivedAt + keepUnusedMs <= now) unused.push(delivery)
      else if (delivery.until - now < (this.#spec.leaseMs * 2) / 3) void this.#extend(delivery, this.#spec.leaseMs).catch(() => {})
    }
    this.#lose(lost)
    if (unused.length > 0) void this.#giveBack(unused)
    if (this.#readings.presence.isHeard) this.#finished.tick(now)
  }

  #lose(lost: readonly PopDelivery[]): void {
    if (lost.length === 0) return
    for (const delivery of lost) this.#forget(delivery)
    this.#buffer = this.#buffer.filter((delivery) => this.#has(delivery))
    const told = lost.filter(({ handed }) => handed)
    if (told.length > 0) this.#sink.lost(told, 'its lease ran out and another member may have it')
  }

  /** For others to have it, at once. What cannot be given back is the broker's again when its time is over. */
  async #giveBack(deliveries: readonly PopDelivery[]): Promise<void> {
    const free = deliveries.filter((delivery) => this.#has(delivery) && !delivery.settling)
    if (free.length === 0) return
    const given = new Set(free)
    this.#buffer = this.#buffer.filter((delivery) => !given.has(delivery))
    await this.#release(free.map((delivery) => ({ delivery, delayMs: 0 }))).catch(() => {})
    for (const delivery of free) this.#forget(delivery)
  }

  /** When the oldest message in hand was published, ms; and how many are in hand. */
  handOf(storage: string): InHand {
    let count = 0
    let oldestAt: number | undefined
    for (const delivery of this.#hand.values()) {
      if (delivery.storage !== storage) continue
      count++
      if (oldestAt === undefined || delivery.at < oldestAt) oldestAt = delivery.at
    }
    return { count, waiting: 0, beyond: count, oldestAt }
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    await within(endMs, this.#readings.end())
    await within(endMs, this.#giveBack([...this.#hand.values()].filter(({ handed }) => !handed)))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.stop()
    clearInterval(this.#timer)
    await within(endMs, this.#giveBack([...this.#hand.values()]))
    await within(endMs, this.#readings.presence.end())
    this.#pool.close()
    this.#parts.onClose()
  }
}

/** Once no change of theirs is under way: each has the receipt that counts then. */
async function changed(deliveries: readonly PopDelivery[]): Promise<void> {
  const under = deliveries.flatMap(({ changing }) => changing ?? [])
  if (under.length > 0) await Promise.allSettled(under)
}

/** Waits for all of them, then fails with the first that failed. */
async function allOf(under: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(under)) if (result.status === 'rejected') throw result.reason
}
