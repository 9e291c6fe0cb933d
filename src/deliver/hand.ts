import type { Job } from './job.ts'

/**
 * The jobs in hand, each with its place. Not a Set: each time V8 rehashes one, the table it leaves behind keeps its
 * entries alive until the next full collection.
 */
export class Hand {
  readonly #jobs: Job[] = []

  get size(): number {
    return this.#jobs.length
  }

  add(job: Job): void {
    job.place = this.#jobs.length
    this.#jobs.push(job)
  }

  /** False when it was not in hand any more. */
  delete(job: Job): boolean {
    if (job.place < 0) return false
    const last = this.#jobs.pop()!
    if (last !== job) {
      this.#jobs[job.place] = last
      last.place = job.place
    }
    job.place = -1
    return true
  }

  /** As it is now: jobs may leave while the list is read. */
  all(): Job[] {
    return [...this.#jobs]
  }
}
