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

/**
 * The time of a run: aborted when it is over. What was aborted has failed, once its handler is back: its place and its lane
 * are not given to others while it goes on; a handler that does not listen keeps them for as long again, and no longer.
 */
class Clock {
  /** Why the run was aborted. */
  expired: Error | undefined
  #timer: NodeJS.Timeout

  /** `over`: the handler did not come back. */
  constructor(jobs: readonly Job[], timeoutMs: number, over: (error: Error) => void) {
    const runs = jobs.map((job) => job.run)
    this.#timer = setTimeout(() => {
      const error = new Error(`the handler took longer than ${timeoutMs} ms`)
      this.expired = error
      for (const [i, job] of jobs.entries()) if (job.run === runs[i] && job.state === 'running') job.abort(error)
      this.#timer = setTimeout(() => over(error), timeoutMs).unref()
    }, timeoutMs).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
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
      pending =
        message instanceof Promise
          ? message.then((ready) => {
              if (isOver(job, run)) throw new Error('the run is over')
              return this.#handler(ready, context)
            })
          : this.#handler(message, context)
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
    let over = false
    const end = (failed: boolean, error: unknown): void => {
      if (over) return
      over = true
      clock?.stop()
      if (clock?.expired) finished(job, run, true, clock.expired)
      else finished(job, run, failed, error)
      free()
    }
    const clock = this.#timeoutMs === undefined ? undefined : new Clock(jobs, this.#timeoutMs, (error) => end(true, error))
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
    const runs = new Map(jobs.map((job) => [job, job.run]))
    const { promise: over, reject: giveUp } = Promise.withResolvers<never>()
    const clock = this.#timeoutMs === undefined ? undefined : new Clock(jobs, this.#timeoutMs, giveUp)
    const inTime = <T>(action: T | Promise<T>): Promise<T> | T => (clock ? Promise.race([action, over]) : action)
    over.catch(() => {})
    try {
      const ready: [Job, Message][] = []
      for (const job of jobs) {
        try {
          ready.push([job, await inTime(prepare(job))])
        } catch (error) {
          finished(job, runs.get(job)!, true, clock?.expired ?? error)
        }
      }
      const good = ready.filter(([job]) => !isOver(job, runs.get(job)!))
      const settle = (outcomes: unknown, thrown: boolean): void => {
        for (const [i, [job]] of good.entries()) {
          const outcome = thrown ? outcomes : Array.isArray(outcomes) ? outcomes[i] : undefined
          finished(job, runs.get(job)!, thrown || outcome instanceof Error, outcome)
        }
      }
      // Those whose time was over while others were made ready.
      for (const [job] of ready) if (clock?.expired) finished(job, runs.get(job)!, true, clock.expired)
      if (good.length === 0) return
      try {
        const messages = good.map(([, message]) => message)
        const contexts = good.map(([job]) => new RunContext(job))
        const outcomes = await inTime((async () => this.#handler(messages, contexts))())
        if (clock?.expired) settle(clock.expired, true)
        else settle(outcomes, false)
      } catch (error) {
        settle(clock?.expired ?? error, true)
      }
    } finally {
      clock?.stop()
    }
  }
}

/** It was lost, given back or timed out while its message was made ready: its handler is not to begin. */
function isOver(job: Job, run: number): boolean {
  return job.run !== run || job.state !== 'running' || job.signal.aborted
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
