import type { PulsarDelivery } from './delivery.ts'

interface Held {
  readonly delivery: PulsarDelivery
  /** `Date.now()`. */
  readonly readyAt: number
  /** It holds nothing but itself: its turn begins with its time. */
  readonly loose: boolean
}

/** Of what is not due yet: what there is beyond, the broker keeps. */
const mostLoose = 1000
const mostLooseBytes = 64 * 1024 * 1024

/** Given back and kept here until its time: the broker would give it again at once. It holds what comes after it in its lane. */
export class Waiting {
  readonly #laneOf: (delivery: PulsarDelivery) => string | undefined
  #held: Held[] = []
  readonly #lanes = new Map<string, number>()
  #loose = 0
  #looseBytes = 0

  constructor(laneOf: (delivery: PulsarDelivery) => string | undefined) {
    this.#laneOf = laneOf
  }

  get size(): number {
    return this.#held.length
  }

  /** Of what is not due yet as much as may be here. */
  get full(): boolean {
    return this.#loose >= mostLoose || this.#looseBytes >= mostLooseBytes
  }

  add(delivery: PulsarDelivery, readyAt: number): void {
    this.#held.push({ delivery, readyAt, loose: false })
    const lane = this.#laneOf(delivery)
    if (lane !== undefined) this.#lanes.set(lane, (this.#lanes.get(lane) ?? 0) + 1)
  }

  /** What is not due yet: brokers are early by up to a tick of theirs, and know no delay where one consumer has all. */
  delay(delivery: PulsarDelivery, readyAt: number): void {
    this.#held.push({ delivery, readyAt, loose: true })
    this.#loose++
    this.#looseBytes += delivery.body.byteLength
  }

  /** Whether something of its lane has to come first. */
  holds(delivery: PulsarDelivery): boolean {
    if (this.#lanes.size === 0) return false
    const lane = this.#laneOf(delivery)
    return lane !== undefined && this.#lanes.has(lane)
  }

  /** What is due, the first one of each lane alone, and at most so many; it is not here any more. */
  take(now: number, most: number): PulsarDelivery[] {
    if (this.#held.length === 0 || most <= 0) return []
    const seen = new Set<string>()
    const due: PulsarDelivery[] = []
    // Of one lane in the order of the log.
    const order = this.#lanes.size > 0 ? this.#held.toSorted((a, b) => before(a.delivery, b.delivery)) : this.#held
    const taken = new Set<Held>()
    for (const held of order) {
      const lane = held.loose ? undefined : this.#laneOf(held.delivery)
      if (lane !== undefined) {
        if (seen.has(lane)) continue
        seen.add(lane)
      }
      if (held.readyAt > now || due.length >= most) continue
      due.push(held.delivery)
      taken.add(held)
    }
    if (taken.size > 0) this.#remove((held) => taken.has(held))
    return due
  }

  /** All of these, whatever their time. */
  drop(which: (delivery: PulsarDelivery) => boolean): PulsarDelivery[] {
    const dropped = this.#held.filter(({ delivery }) => which(delivery)).map(({ delivery }) => delivery)
    if (dropped.length > 0) this.#remove(({ delivery }) => which(delivery))
    return dropped
  }

  #remove(which: (held: Held) => boolean): void {
    for (const held of this.#held) {
      if (!which(held)) continue
      if (held.loose) {
        this.#loose--
        this.#looseBytes -= held.delivery.body.byteLength
        continue
      }
      const lane = this.#laneOf(held.delivery)
      if (lane === undefined) continue
      const left = this.#lanes.get(lane)! - 1
      if (left > 0) this.#lanes.set(lane, left)
      else this.#lanes.delete(lane)
    }
    this.#held = this.#held.filter((held) => !which(held))
  }

  /** When the next one is due, `Date.now()`. */
  get dueAt(): number {
    let due = Number.POSITIVE_INFINITY
    for (const { readyAt } of this.#held) due = Math.min(due, readyAt)
    return due
  }
}

function before(a: PulsarDelivery, b: PulsarDelivery): number {
  const { id: one } = a.entry
  const { id: other } = b.entry
  return one.ledger - other.ledger || one.entry - other.entry || a.batch - b.batch
}
