import type { BatchHandler, Handler } from './handler.ts'
import type { Job } from './job.ts'
import type { Message } from './message.ts'
import { RunContext } from './run-context.ts'

export type Prepare = (job: Job) => Message | Promise<Message>
/** Called once a run; `failed` tells whether `error` counts, as a handler may throw undefined. */
export type Finished = (job: Job, run: number, failed: boolean, error: unknown) => void

/** Runs the user's handler over jobs: one by one, or in batches. */
export interface Runner {
  /** Jobs one run may take. */
  readonly size: number
  /** Takes jobs for one run from the front, or undefined to wait for more (`again` is called when to look next). */
  take(ready: Job[], again: () => void, most?: number): Job[] | undefined
  /** Must call `finished` for each job, then `free` once, and never throw. */
  run(jobs: readonly Job[], prepare: Prepare, finished: Finished, free: () => void): void
  /** Waits for no more jobs. Runs go on. */
  close(): void
}

/** Aborts the run and counts it as failed, whether the handler listens or not; then `expired`, also where all was lost before. */
function arm(jobs: readonly Job[], timeoutMs: number | undefined, finished: Finished, expired: () => void): NodeJS.Timeout | undefined {
  if (timeoutMs === undefined) return undefined
  const runs = jobs.map((job) => job.run)
  return setTimeout(() => {
    const error = new Error(`the handler took longer than ${timeoutMs} ms`)
    for (const [i, job] of jobs.entries()) {
      if (job.run !== runs[i] || job.state !== 'running') continue
      job.abort(error)
      finished(job, job.run, true, error)
    }
    expired()
  }, timeoutMs)
}

export class SingleRunner implements Runner {
  readonly size = 1
  readonly #handler: Handler
  readonly #timeoutMs: number | undefined

  constructor(handler: Handler, timeoutMs: number | undefined) {
    this.#handler = handler
    this.#timeoutMs = timeoutMs
  }

  take(ready: Job[]): Job[] {
    return [ready.shift()!]
  }

  close(): void {}

  run(jobs: readonly Job[], prepare: Prepare, finished: Finished, free: () => void): void {
    const job = jobs[0]!
    const { run } = job
    const context = new RunContext(job)
    let pending: unknown
    try {
      const message = prepare(job)
      pending = message instanceof Promise ? message.then((ready) => this.#handler(ready, context)) : this.#handler(message, context)
    } catch (error) {
      finished(job, run, true, error)
      free()
      return
    }
    if (isThenable(pending)) {
      this.#await(pending, jobs, finished, free)
      return
    }
    finished(job, run, false, undefined)
    free()
  }

  #await(pending: PromiseLike<unknown>, jobs: readonly Job[], finished: Finished, free: () => void): void {
    const job = jobs[0]!
    const { run } = job
    let freed = false
    // A timed-out run frees its place once, then or when the handler comes back at last.
    const release = (): void => {
      if (freed) return
      freed = true
      free()
    }
    const timer = arm(jobs, this.#timeoutMs, finished, release)
    const end = (failed: boolean, error: unknown): void => {
      if (timer) clearTimeout(timer)
      finished(job, run, failed, error)
      release()
    }
    pending.then(
      () => end(false, undefined),
      (error) => end(true, error),
    )
  }
}

export class BatchRunner implements Runner {
  readonly size: number
  readonly #handler: BatchHandler
  readonly #timeoutMs: number | undefined
  readonly #waitMs: number
  #timer: NodeJS.Timeout | undefined
  #due = false

  constructor(handler: BatchHandler, timeoutMs: number | undefined, size: number, waitMs: number) {
    this.#handler = handler
    this.#timeoutMs = timeoutMs
    this.size = size
    this.#waitMs = waitMs
  }

  take(ready: Job[], again: () => void, most = this.size): Job[] | undefined {
    if (ready.length < Math.min(most, this.size) && this.#waitMs > 0 && !this.#due) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined
        this.#due = true
        again()
      }, this.#waitMs)
      return undefined
    }
    this.#due = false
    this.close()
    return ready.splice(0, Math.min(most, this.size))
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  run(jobs: readonly Job[], prepare: Prepare, finished: Finished, free: () => void): void {
    void this.#run(jobs, prepare, finished).finally(free)
  }

  async #run(jobs: readonly Job[], prepare: Prepare, finished: Finished): Promise<void> {
    const runs = jobs.map((job) => job.run)
    const good: Job[] = []
    const messages: Message[] = []
    for (const job of jobs) {
      try {
        messages.push(await prepare(job))
        good.push(job)
      } catch (error) {
        finished(job, job.run, true, error)
      }
    }
    if (good.length === 0) return
    const { promise: expired, resolve: wake } = Promise.withResolvers<void>()
    const timer = arm(good, this.#timeoutMs, finished, wake)
    const settle = (outcomes: unknown, thrown: boolean): void => {
      for (const [i, job] of good.entries()) {
        const outcome = thrown ? outcomes : Array.isArray(outcomes) ? outcomes[i] : undefined
        finished(job, runs[jobs.indexOf(job)]!, thrown || outcome instanceof Error, outcome)
      }
    }
    try {
      const result = (async () =>
        this.#handler(
          messages,
          good.map((job) => new RunContext(job)),
        ))()
      settle(await Promise.race([result, expired]), false)
    } catch (error) {
      settle(error, true)
    } finally {
      clearTimeout(timer)
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
