import { BusError } from '../errors.ts'
import type { Headers } from '../message/headers.ts'
import type { Job } from './job.ts'

/** A message as a handler gets it. */
export interface Message<Body = any, P = Record<string, string>> {
  /** The message's own id; the same over retries and replays. */
  readonly id: string
  /** The full name it was published under. */
  readonly topic: string
  readonly params: P
  readonly key: string | undefined
  readonly body: Body
  /** The bytes as they came. */
  readonly bytes: Uint8Array
  readonly headers: Headers
  readonly publishedAt: Date
}

/** One hand-over of a message. */
export interface DeliveryContext {
  /** 1 for the first; grows with each failure of the handler and each replay's failures anew. */
  readonly attempt: number
  /** Aborts when the lease is lost, the timeout passes, or the drain's deadline does. */
  readonly signal: AbortSignal
  /** Grows with each new owner: a store that keeps the highest one seen can refuse a late writer. */
  readonly fence: number
  /** How far the handler is, 0 to 1, for status and console. */
  progress(fraction: number, note?: string): void
}

/** The context of one run. A late reader of `signal` costs nothing to those that never ask. */
export class RunContext implements DeliveryContext {
  readonly attempt: number
  readonly fence: number
  readonly #job: Job
  readonly #run: number
  #signal: AbortSignal | undefined

  constructor(job: Job) {
    this.#job = job
    this.#run = job.run
    this.attempt = (job.attempts?.failures ?? 0) + 1
    this.fence = job.delivery.fence
  }

  /** A run that was overtaken may ask late: the signal of the run after it would tell it to go on. */
  get signal(): AbortSignal {
    this.#signal ??= this.#job.run === this.#run ? this.#job.signal : AbortSignal.abort(new BusError('aborted', 'this run is over'))
    return this.#signal
  }

  progress(fraction: number, note?: string): void {
    if (this.#job.run !== this.#run) return
    this.#job.progress = { fraction: Math.min(1, Math.max(0, Number(fraction) || 0)), note }
  }
}
