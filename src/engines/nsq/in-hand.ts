import { Hand } from '../hand.ts'
import type { NsqDelivery } from './delivery.ts'
import type { WireMessage } from './protocol.ts'
import type { Session } from './session.ts'

/** What came and is not settled: with the core, or waiting here until the core wants it. */
export class InHand {
  readonly #hand = new Hand<NsqDelivery>()
  /** What came through connections that have ended. */
  readonly #orphans = new Set<NsqDelivery>()
  #waiting: NsqDelivery[] = []
  /** The core's credit that is not used. */
  #messages = 0
  #bytes = 0
  #typicalBytes = 1024
  /** With the core. */
  #out = 0

  get anyWaits(): boolean {
    return this.#waiting.length > 0
  }

  has(delivery: NsqDelivery): boolean {
    return this.#hand.has(delivery)
  }

  all(): NsqDelivery[] {
    return this.#hand.all()
  }

  /** For the core, once it has credit for it. */
  add(delivery: NsqDelivery): void {
    this.keep(delivery)
    this.queue(delivery)
  }

  /** Not for the core. */
  keep(delivery: NsqDelivery): void {
    delivery.session.inFlight++
    this.#hand.add(delivery)
  }

  queue(delivery: NsqDelivery): void {
    this.#typicalBytes = this.#typicalBytes * 0.9 + delivery.body.byteLength * 0.1
    this.#waiting.push(delivery)
  }

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
  }

  get hasCredit(): boolean {
    return this.#messages > 0 && this.#bytes > 0
  }

  /** How many more messages the credit is for, beside those that wait here. */
  get room(): number {
    const fitting = Math.ceil(this.#bytes / this.#typicalBytes)
    return Math.max(0, Math.min(this.#messages, fitting) - this.#waiting.length)
  }

  /** As many of those that wait as the credit is for; one is handed on however large it is, when the core has none. */
  take(): NsqDelivery[] {
    let count = 0
    while (count < this.#waiting.length && this.#messages > 0 && (this.#bytes > 0 || this.#out === 0)) {
      const delivery = this.#waiting[count++]!
      delivery.handed = true
      this.#messages--
      this.#bytes -= delivery.body.byteLength
      this.#out++
    }
    if (count === 0) return []
    const batch = this.#waiting.slice(0, count)
    this.#waiting = this.#waiting.slice(count)
    return batch
  }

  /** The same message, where it is in hand and may come again. */
  again(session: Session, { id, attempts }: WireMessage): NsqDelivery | undefined {
    if (attempts === 1 && this.#orphans.size === 0) return undefined
    return this.#hand.find((one) => one.wireId === id && one.session.nsqd === session.nsqd)
  }

  /** What came through this connection by that id. */
  of(session: Session, id: string): NsqDelivery | undefined {
    return this.#hand.find((one) => one.wireId === id && one.session === session)
  }

  adopt(delivery: NsqDelivery, session: Session, wireId: string, now: number): void {
    this.#orphans.delete(delivery)
    session.inFlight++
    delivery.adopt(session, wireId, now)
  }

  /** What came through it goes on: nsqd gives it to nobody before its time is over, and has lost it if it was killed. */
  left(session: Session): void {
    for (const delivery of this.#hand.all()) if (delivery.session === session) this.#orphans.add(delivery)
  }

  /** Out of our hands. */
  settled(delivery: NsqDelivery): void {
    if (!this.#hand.delete(delivery)) return
    this.#orphans.delete(delivery)
    if (delivery.handed) this.#out--
    if (delivery.moving !== 'away') delivery.session.inFlight--
  }

  /** The same of many, of which some may wait here. */
  drop(deliveries: readonly NsqDelivery[]): void {
    for (const delivery of deliveries) this.settled(delivery)
    this.#waiting = this.#waiting.filter((delivery) => this.#hand.has(delivery))
  }

  /** When the oldest message of a storage was published, ms. */
  oldestAt(storage: string): number | undefined {
    let oldest: number | undefined
    for (const delivery of this.#hand.all())
      if (delivery.storage === storage && (oldest === undefined || delivery.at < oldest)) oldest = delivery.at
    return oldest
  }
}
