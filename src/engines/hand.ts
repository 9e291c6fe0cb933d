/** What can be in hand. */
export interface Held {
  /** Its place in {@link Hand}; -1 outside. */
  place: number
}

/**
 * What is in hand and not settled, each with its place. Not a Set: each time V8 rehashes one, the table it leaves behind
 * keeps its entries alive until the next full collection.
 */
export class Hand<T extends Held> {
  readonly #held: T[] = []

  has(item: T): boolean {
    return item.place >= 0
  }

  add(item: T): void {
    item.place = this.#held.length
    this.#held.push(item)
  }

  /** False when it was not in hand any more. */
  delete(item: T): boolean {
    if (item.place < 0) return false
    const last = this.#held.pop()!
    if (last !== item) {
      this.#held[item.place] = last
      last.place = item.place
    }
    item.place = -1
    return true
  }

  find(wanted: (item: T) => boolean): T | undefined {
    return this.#held.find(wanted)
  }

  /** As it is now: some may leave while the list is read. */
  all(): T[] {
    return [...this.#held]
  }
}
