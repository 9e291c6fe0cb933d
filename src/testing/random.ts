/** A seeded source of numbers (mulberry32): the same seed gives the same workload. */
export class Random {
  readonly #seed: number
  #state: number

  constructor(seed: number) {
    this.#seed = seed >>> 0
    this.#state = this.#seed
  }

  /** One for this alone: what it gives does not hang on who else draws, nor on when (FNV-1a of the names, over the seed). */
  of(...names: readonly (string | number)[]): Random {
    let hash = this.#seed ^ 0x811c9dc5
    for (const byte of Buffer.from(names.join('\u0000'))) hash = Math.imul(hash ^ byte, 0x01000193)
    return new Random(hash)
  }

  /** From 0 up to and without 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** A whole number from 0 up to and without `below`. */
  below(below: number): number {
    return Math.floor(this.next() * below)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}
