import type { NatsDelivery } from './delivery.ts'

/** What came and is not settled: when each stops being ours, and what was extended. */
export class Hand {
  readonly #held: NatsDelivery[] = []

  add(delivery: NatsDelivery): void {
    delivery.place = this.#held.length
    this.#held.push(delivery)
  }

  has(delivery: NatsDelivery): boolean {
    return delivery.place >= 0
  }

  remove(delivery: NatsDelivery): void {
    if (delivery.place < 0) return
    const last = this.#held.pop()!
    if (last !== delivery) {
      this.#held[delivery.place] = last
      last.place = delivery.place
    }
    delivery.place = -1
  }

  /** As it is now: some may leave while the list is read. */
  all(): NatsDelivery[] {
    return [...this.#held]
  }

  find(wanted: (delivery: NatsDelivery) => boolean): NatsDelivery | undefined {
    return this.#held.find(wanted)
  }

  get size(): number {
    return this.#held.length
  }
}
