import type { EngineSubscription, Settlement, SettleResult } from '../engines/engine.ts'
import { toBusError } from '../errors.ts'
import type { Job } from './job.ts'

/** What became of one settlement. */
export type Settled = (job: Job, kind: Settlement['kind'], result: SettleResult) => void

const firstRetryMs = 50
const lastRetryMs = 2000

/**
 * Collects the settlements of a tick into one batch and sees each through: while the engine is away a batch is sent
 * again until it is answered or the subscription is closed for good.
 */
export class Settler {
  readonly #settled: Settled
  #engine: EngineSubscription | undefined
  #jobs: Job[] = []
  #batch: Settlement[] = []
  #scheduled = false
  #flying = 0
  #unanswered = 0
  #ended = false
  #idle: (() => void)[] = []

  constructor(settled: Settled) {
    this.#settled = settled
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
    for (let waitMs = firstRetryMs; ; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        const results = await this.#engine!.settle(batch)
        this.#unanswered -= jobs.length
        for (let i = 0; i < jobs.length; i++) this.#settled(jobs[i]!, batch[i]!.kind, results[i]!)
        break
      } catch (thrown) {
        if (this.#ended || !toBusError(thrown).retryable) {
          this.#unanswered -= jobs.length
          for (let i = 0; i < jobs.length; i++) this.#settled(jobs[i]!, batch[i]!.kind, 'lost')
          break
        }
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
    this.#flying--
    if (this.#flying === 0 && this.#batch.length === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }
}
