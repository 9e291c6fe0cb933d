import { BusError } from '../errors.ts'
import type { Job } from './job.ts'
import type { DeliveryContext } from './message.ts'

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
