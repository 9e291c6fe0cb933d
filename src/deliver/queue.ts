import type { AttemptState } from '../ledger/attempts.ts'
import { longestTimerMs } from '../message/duration.ts'
import type { Job } from './job.ts'
import { Lanes } from './lanes.ts'
import { Suspects } from './suspects.ts'

/**
 * What may run, in which order: jobs wait for their lane, for the end of their backoff, and, where their process died
 * before, for each other; then they stand in `ready`.
 */
export class Queue {
  readonly ready: Job[] = []
  readonly #lanes = new Lanes()
  readonly #suspects = new Suspects()
  readonly #onReady: () => void

  /** `onReady`: something became ready by itself. */
  constructor(onReady: () => void) {
    this.#onReady = onReady
  }

  /** Messages that wait behind others of their key. */
  get parked(): number {
    return this.#lanes.parked
  }

  /** `lane` undefined: the job keeps order with nothing. */
  enter(job: Job, lane: string | undefined): void {
    if (lane === undefined || this.#lanes.enter(lane, job)) this.#enqueue(job)
  }

  /** Ready after this time; it keeps its lane. */
  delay(job: Job, waitMs: number): void {
    job.state = 'delayed'
    job.timer = setTimeout(
      () => {
        job.timer = undefined
        if (waitMs > longestTimerMs) {
          this.delay(job, waitMs - longestTimerMs)
          return
        }
        this.#queue(job)
        this.#onReady()
      },
      Math.min(waitMs, longestTimerMs),
    )
  }

  /** A run of the job has ended, or will not begin: whoever waited for that goes on. */
  ended(job: Job): void {
    const next = this.#suspects.acquit(job)
    if (!next) return
    this.#queue(next)
    this.#onReady()
  }

  /** The job is settled: the next one of its lane may run. */
  leave(job: Job): void {
    const next = this.#lanes.leave(job)
    if (!next) return
    this.#enqueue(next)
    this.#onReady()
  }

  /** The job is lost. Returns what stood behind it in its lane, and is in no lane any more. */
  remove(job: Job): Job[] {
    const i = this.ready.indexOf(job)
    if (i >= 0) this.ready.splice(i, 1)
    return this.#lanes.behind(job)
  }

  /** At once, or when the backoff that it brought along is over. */
  #enqueue(job: Job): void {
    const waitMs = job.attempts === undefined ? 0 : leftOf(job.attempts)
    if (waitMs > 0) this.delay(job, waitMs)
    else this.#queue(job)
  }

  #queue(job: Job): void {
    job.state = 'queued'
    if (this.#suspects.admit(job)) this.ready.push(job)
  }
}

/** Of its backoff. Written by another clock, perhaps: never longer than the backoff itself. */
function leftOf({ notBefore, lastFailureAt = 0 }: AttemptState): number {
  return Math.min(notBefore - Date.now(), notBefore - lastFailureAt)
}
