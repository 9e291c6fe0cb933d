import type { NatsDelivery } from './delivery.ts'

/** How long a part that leaves stands still for handlers that run; each time twice as long. */
const firstPatienceMs = 2000
const lastPatienceMs = 600_000
/** So much longer than it stood still it works on here, before it tries to leave again. */
const workFactor = 10

export interface LeavingParts {
  /** Has the core give back what has not begun, also what has come to that since the last time. */
  readonly tell: () => void
  /** What the core has of the part. */
  readonly withCore: () => NatsDelivery[]
  /** Nothing of it stands still any more. */
  readonly resume: () => void
}

/**
 * A part that somebody else shall have: only handlers that run are waited for, and nothing else of it begins meanwhile. Where
 * that takes long the part works on here until they are done, or for some time: one job of minutes would keep all keys of
 * its part waiting, and a hung one for ever. As it stands still for longer each time, it does leave in the end, however
 * many long jobs follow each other.
 */
export class Leaving {
  readonly #parts: LeavingParts
  /** Nothing of it is handed on. */
  still = true
  /** Waited for. */
  #held: NatsDelivery[] = []
  #over = false
  #wake: (() => void) | undefined

  constructor(parts: LeavingParts) {
    this.#parts = parts
  }

  /** Resolves once the core has nothing of it, or {@link end} was called. */
  async untilEmpty(): Promise<void> {
    for (let patienceMs = firstPatienceMs; !this.#over; patienceMs = Math.min(lastPatienceMs, 2 * patienceMs)) {
      this.still = true
      this.#parts.tell()
      this.#held = this.#parts.withCore()
      if (await this.#gone(patienceMs)) return
      this.still = false
      this.#parts.resume()
      await this.#gone(workFactor * patienceMs)
    }
  }

  /** Now and then: what failed meanwhile waits for its next attempt. */
  tellAgain(): void {
    if (this.still) this.#parts.tell()
  }

  /** The core settled or gave back something. */
  look(): void {
    while (this.#held.length > 0 && this.#held.at(-1)!.place < 0) this.#held.pop()
    if (this.#held.length === 0) this.#wake?.()
  }

  /** Nobody is waited for any more. */
  end(): void {
    this.#over = true
    this.#wake?.()
  }

  /** False when the time is over first. */
  async #gone(withinMs: number): Promise<boolean> {
    const timer = Promise.withResolvers<void>()
    const timeout = setTimeout(timer.resolve, withinMs)
    timeout.unref()
    this.#wake = timer.resolve
    this.look()
    await timer.promise
    clearTimeout(timeout)
    this.#wake = undefined
    return this.#held.length === 0 || this.#over
  }
}
