import type { EngineSubscription, Settlement, SettleResult } from '../engines/engine.ts'
import { type BusError, toBusError } from '../errors.ts'
import type { Job } from './job.ts'

/** What became of a batch. */
export type Settled = (jobs: readonly Job[], batch: readonly Settlement[], results: readonly SettleResult[]) => void

const firstRetryMs = 50
const lastRetryMs = 2000

/**
 * Collects the settlements of a tick into one batch and sees each through: while the engine is away, or refuses to hear of
 * it, a batch is sent again until it is answered or the subscription is closed for good.
 */
export class Settler {
  readonly #settled: Settled
  readonly #refused: (error: BusError) => void
  readonly #delayed: (job: Job, kind: Settlement['kind']) => void
  #engine: EngineSubscription | undefined
  #jobs: Job[] = []
  #batch: Settlement[] = []
  #scheduled = false
  #flying = 0
  #unanswered = 0
  /** Batches that the engine refuses to hear of. */
  #refusing = 0
  #ended = false
  #idle: (() => void)[] = []

  /** `refused`: told of a batch that this user may not settle; `delayed`: of each that did not get through at once. */
  constructor(settled: Settled, refused: (error: BusError) => void, delayed: (job: Job, kind: Settlement['kind']) => void) {
    this.#settled = settled
    this.#refused = refused
    this.#delayed = delayed
  }

  attach(engine: EngineSubscription): void {
    this.#engine = engine
  }

  push(job: Job, settlement: Settlement): void {
    this.#unanswered++
    this.#jobs.push(job)
    this.#batch.push(settlement)
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(this.#flush)
    }
  }

  /** Settlements not answered yet. */
  get pending(): number {
    return this.#unanswered
  }

  /** Whether something is refused at the moment. */
  get refusing(): boolean {
    return this.#refusing > 0
  }

  /** Resolves once nothing is unsettled. */
  idle(): Promise<void> {
    if (this.#flying === 0 && this.#batch.length === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** No more attempts: what is unanswered then counts as lost. */
  end(): void {
    this.#ended = true
  }

  #flush = (): void => {
    this.#scheduled = false
    const jobs = this.#jobs
    const batch = this.#batch
    this.#jobs = []
    this.#batch = []
    this.#flying++
    void this.#send(jobs, batch)
  }

  async #send(jobs: Job[], batch: Settlement[]): Promise<void> {
    let results: readonly SettleResult[] | undefined
    let forbidden = false
    for (let waitMs = firstRetryMs; ; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        results = await this.#engine!.settle(batch)
        break
      } catch (thrown) {
        const error = toBusError(thrown)
        // Until its lease is over: whoever gives the permission meanwhile saves the work.
        if (error.code === 'forbidden' && !forbidden) {
          forbidden = true
          this.#refusing++
          this.#refused(error)
        }
        if (this.#ended || !(error.retryable || error.code === 'forbidden')) break
        if (waitMs === firstRetryMs) for (let i = 0; i < jobs.length; i++) this.#delayed(jobs[i]!, batch[i]!.kind)
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
    if (forbidden) this.#refusing--
    this.#unanswered -= jobs.length
    this.#settled(
      jobs,
      batch,
      jobs.map((_, i) => results?.[i] ?? 'lost'),
    )
    this.#flying--
    if (this.#flying === 0 && this.#batch.length === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }
}
