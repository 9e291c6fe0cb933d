import type { Job } from './job.ts'

/**
 * Messages whose process died while it had them, of them or beside them: one is in work at a time, so that a deadly one
 * soon dies alone and takes no neighbour's crashes along.
 */
export class Suspects {
  #inWork: Job | undefined
  readonly #waiting: Job[] = []

  /** Whether the job may be queued now; otherwise it waits here. */
  admit(job: Job): boolean {
    if (job.attempts === undefined || job.attempts.crashes === 0) return true
    if (this.#inWork) {
      this.#waiting.push(job)
      return false
    }
    this.#inWork = job
    return true
  }

  /** The job is out of work, for now or for good. Returns the one whose turn it is. */
  acquit(job: Job): Job | undefined {
    if (this.#inWork !== job) return undefined
    this.#inWork = undefined
    for (;;) {
      const next = this.#waiting.shift()
      // One that was lost or given back meanwhile has no turn.
      if (next === undefined || next.state === 'queued') return next
    }
  }
}
