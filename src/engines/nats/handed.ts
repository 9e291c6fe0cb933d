/**
 * Which of a consumer's messages its reader has handed on: all that there are from one sequence to another. What comes again
 * of them and is in nobody's hand is done.
 */
export class Handed {
  #from = Number.POSITIVE_INFINITY
  #to = 0
  /** When the last of them was stored, ms. */
  #toAtMs = 0

  get to(): number {
    return this.#to
  }

  has(sequence: number): boolean {
    return sequence >= this.#from && sequence <= this.#to
  }

  /** The next one of the consumer, nothing missing between: handed on now. */
  extend(sequence: number, atMs: number): void {
    if (sequence < this.#from) this.#from = sequence
    this.#to = sequence
    this.#toAtMs = atMs
  }

  /** Something before the next one may be with somebody else. */
  restart(): void {
    this.#from = Number.POSITIVE_INFINITY
  }

  /**
   * Stored under a sequence that another message had, as it was stored after later ones: the server lost what it had confirmed
   * (a power failure, a restored copy), and counts on from before.
   */
  contradicts(sequence: number, atMs: number): boolean {
    return sequence <= this.#to && atMs > this.#toAtMs
  }
}
