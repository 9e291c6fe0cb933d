import { type Backoff, backoffMs } from './backoff.ts'

export interface BreakerPolicy {
  /** Different messages that must fail in a row before the group slows down. */
  readonly failures: number
  readonly backoff: Backoff
}

/**
 * Slows a group down when everything fails: an outage of what the handlers call must not empty a backlog into the dead
 * letters. Closed: all run. Open: one message at a time is tried, after a growing pause, and its failure spends no
 * attempt. One success closes it. A message that fails alone, however often, never opens it.
 */
export class Breaker {
  readonly #policy: BreakerPolicy | undefined
  readonly #failing = new Set<string>()
  #trials = 0
  #openUntil = 0

  constructor(policy: BreakerPolicy | undefined) {
    this.#policy = policy
  }

  get open(): boolean {
    return this.#trials > 0
  }

  /** When the next trial may start, by `performance.now()`, which no clock that is set back delays; 0 while closed. */
  get nextTrialAt(): number {
    return this.#openUntil
  }

  /** A handler answered, if only to reject: whatever it calls works. */
  succeeded(): void {
    if (this.#failing.size > 0) this.#failing.clear()
    this.#trials = 0
    this.#openUntil = 0
  }

  /** A handler failed. Returns whether the failure counts as an attempt of the message. */
  failed(id: string, now: number): boolean {
    if (!this.#policy) return true
    const counted = !this.open
    if (this.#failing.size < this.#policy.failures) this.#failing.add(id)
    // Those that were on when it opened say nothing new: only what was tried after the pause makes the next one longer.
    if (this.#failing.size >= this.#policy.failures && now >= this.#openUntil) {
      this.#trials++
      this.#openUntil = now + backoffMs(this.#policy.backoff, this.#trials)
    }
    return counted
  }
}
