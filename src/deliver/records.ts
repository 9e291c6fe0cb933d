import { BusError } from '../errors.ts'
import { AttemptBook, type AttemptState, newAttempts } from '../ledger/attempts.ts'
import { DeadLetters } from '../ledger/dead-letters.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { visibleHeaders, wire } from '../message/wire.ts'
import type { Events } from '../observe/events.ts'
import type { Job } from './job.ts'
import { errorText } from './outcome.ts'

const firstRetryMs = 50
const lastRetryMs = 2000

/**
 * What a group's ledger is told of its messages: attempts, and dead letters. A ledger that is away is asked again, for as
 * long as the message is ours and the subscription not closed.
 */
export class Records {
  readonly #ledger: Ledger
  readonly #group: string
  readonly #events: Events
  readonly #book: AttemptBook
  /** Whether the engine tells a redelivery. */
  readonly #told: boolean
  #unwritten = 0
  #closed = false
  readonly #idle: (() => void)[] = []

  constructor(ledger: Ledger, group: string, events: Events, told: boolean) {
    this.#ledger = ledger
    this.#group = group
    this.#events = events
    this.#book = new AttemptBook(ledger, group)
    this.#told = told
  }

  /** Something waits to be written. */
  get busy(): boolean {
    return this.#unwritten > 0
  }

  /** Resolves once nothing waits to be written. */
  idle(): Promise<void> {
    if (!this.busy) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** What may have been handled before: where the engine cannot tell, that is any. Its next start is written down. */
  mayHaveState(job: Job): boolean {
    return job.delivery.redelivered || !this.#told
  }

  /** Gives each job its state; rejects when the ledger is away. */
  async read(jobs: readonly Job[]): Promise<void> {
    const states = await this.#book.read(jobs)
    for (const [i, job] of jobs.entries()) {
      const state = states[i]
      // A run that was on when nobody settled it: the process died of it, or with it.
      if (state?.started) state.crashes++
      job.attempts = state ?? newAttempts()
    }
  }

  /** Resolves once the job's state is written, or nobody wants it any more. */
  write(job: Job): Promise<void> {
    return this.#tries(job, () => this.#book.write(job.storage, job.id, job.attempts as AttemptState))
  }

  /** It was handled, and its acknowledgement waits for the engine: who dies meanwhile did not die of it. */
  handled(job: Job): void {
    const { storage, id, attempts } = job
    if (attempts?.started) void this.#tries(job, () => this.#book.write(storage, id, { ...attempts, started: false }))
  }

  /** The message is done: its state goes. Not tried again, as a state nobody reads does no harm. */
  remove(job: Job): void {
    void this.#tracked(this.#book.write(job.storage, job.id, undefined).catch(() => {}))
  }

  /** Resolves once the message is a dead letter, or nobody wants it any more. */
  bury(job: Job, error: unknown): Promise<void> {
    const now = Date.now()
    const letter = {
      topic: job.name,
      messageId: job.id,
      key: job.key ?? job.message?.key,
      headers: keepable(job),
      bytes: job.body,
      publishedAt: new Date(job.at),
      attempts: Math.max(1, job.attempts?.failures ?? 1),
      crashes: job.attempts?.crashes ?? 0,
      firstFailure: new Date(job.attempts?.firstFailureAt ?? now),
      lastFailure: new Date(job.attempts?.lastFailureAt ?? now),
      error: errorText(error),
      replays: Number(job.headers?.[wire.replays] ?? 0),
    }
    const shelf = new DeadLetters(this.#ledger, job.storage, this.#group)
    return this.#tries(job, () => shelf.add(letter))
  }

  /** Whether a late write still serves. */
  wants(job: Job): boolean {
    return job.state !== 'gone' && !this.#closed
  }

  close(): void {
    this.#closed = true
  }

  #tries(job: Job, action: () => Promise<void>): Promise<void> {
    return this.#tracked(this.#try(job, action))
  }

  async #try(job: Job, action: () => Promise<void>): Promise<void> {
    for (let waitMs = firstRetryMs; this.wants(job); waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        await action()
        return
      } catch (thrown) {
        if (thrown instanceof BusError && thrown.code === 'closed') {
          // Nothing was written: nobody may take it for that, and acknowledge.
          this.#closed = true
          return
        }
        this.#events.warn('the ledger could not be written; trying again', thrown)
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
  }

  async #tracked(writing: Promise<void>): Promise<void> {
    this.#unwritten++
    await writing
    this.#unwritten--
    if (!this.busy) for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** The headers that a dead letter keeps: the message's own, and the claim check of its body. */
function keepable(job: Job) {
  const blob = job.headers?.[wire.blob]
  const own = visibleHeaders(job.headers)
  return blob === undefined ? own : { ...own, [wire.blob]: blob }
}
