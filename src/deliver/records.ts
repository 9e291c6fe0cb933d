import { BusError } from '../errors.ts'
import { AttemptBook, type AttemptState, newAttempts } from '../ledger/attempts.ts'
import { DeadLetters } from '../ledger/dead-letters.ts'
import { HandBook } from '../ledger/hand-book.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { visibleHeaders, wire } from '../message/wire.ts'
import type { Events } from '../observe/events.ts'
import { HandNote, nameOf } from './hand-note.ts'
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
  /** Where the engine does not tell a redelivery: what others died with, and what this member has in hand. */
  readonly #hands: { readonly book: HandBook; readonly note: HandNote } | undefined
  #unwritten = 0
  #closed = false
  readonly #idle: (() => void)[] = []

  /** `told`: the engine tells a redelivery. `soon`: what begins next, and may be taken to have begun. */
  constructor(ledger: Ledger, group: string, events: Events, told: boolean, soon: readonly Job[]) {
    this.#ledger = ledger
    this.#group = group
    this.#events = events
    this.#book = new AttemptBook(ledger, group)
    if (told) return
    const book = new HandBook(ledger, group)
    // Whoever has to wait for a note does; a drain need not wait for the tidying of one.
    const tries = (action: () => Promise<void>): Promise<boolean> => this.#try(() => !this.#closed, action)
    this.#hands = { book, note: new HandNote(book, tries, () => soon.filter(isFresh)) }
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

  /** What may have been handled before: where the engine cannot tell, that is any. */
  mayHaveState(job: Job): boolean {
    return job.delivery.redelivered || this.#hands !== undefined
  }

  /** Whether a run of it may begin at once: a death of this process would be found out. */
  mayBegin(job: Job): boolean {
    return isFresh(job) && (this.#hands === undefined || job.noted)
  }

  /** Resolves once a death with those that are fresh would be found out, or nobody wants them any more. */
  async note(jobs: readonly Job[]): Promise<void> {
    await this.#hands?.note.add(jobs.filter(isFresh))
  }

  /** These are given back: resolves once nobody can take that for a death, undefined where nobody could. */
  acquit(jobs: readonly Job[]): Promise<unknown> | undefined {
    return this.#hands?.note.remove(jobs)
  }

  /** The member leaves. */
  async leave(): Promise<void> {
    await this.#hands?.note.clear()
  }

  /** It is done, lost, or known by a state of its own. */
  forget(job: Job): void {
    this.#hands?.note.delete(job)
  }

  /** Gives each job its state; rejects when the ledger is away. */
  async read(jobs: readonly Job[]): Promise<void> {
    const [states, hands] = await Promise.all([this.#book.read(jobs), this.#hands?.book.others()])
    for (const [i, job] of jobs.entries()) {
      let state = states[i]
      // A run that was on when nobody settled it: the process died of it, or with it.
      if (state?.started) state.crashes++
      for (const member of hands?.get(nameOf(job)) ?? []) {
        if (state?.deaths.includes(member)) continue
        state ??= newAttempts()
        state.crashes++
        state.deaths.push(member)
      }
      job.attempts = state ?? (hands ? undefined : newAttempts())
    }
  }

  /** Resolves once the job's state is written, or nobody wants it any more. */
  async write(job: Job): Promise<void> {
    const { deaths } = job.attempts!
    // From here on this tells more than the note, which may name the message for a moment longer.
    if (this.#hands && !deaths.includes(this.#hands.book.own)) deaths.push(this.#hands.book.own)
    await this.#tries(this.#wanted(job), () => this.#book.write(job.storage, job.id, job.attempts as AttemptState))
    // Not before: of a process that dies in between either is known.
    this.forget(job)
  }

  /** It was handled, and its acknowledgement waits for the engine: who dies meanwhile did not die of it. */
  handled(job: Job): void {
    const { storage, id, attempts } = job
    this.forget(job)
    if (attempts?.started) void this.#tries(this.#wanted(job), () => this.#book.write(storage, id, { ...attempts, started: false }))
  }

  /** The message is done: its state goes. Not tried again, as a state nobody reads does no harm. */
  remove(job: Job): void {
    void this.#tracked(this.#book.write(job.storage, job.id, undefined).catch(() => {}))
  }

  /** Resolves once the message is a dead letter, or nobody wants it any more. */
  async bury(job: Job, error: unknown): Promise<void> {
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
    await this.#tries(this.#wanted(job), () => shelf.add(letter))
  }

  /** Whether a late write still serves. */
  wants(job: Job): boolean {
    return job.state !== 'gone' && !this.#closed
  }

  close(): void {
    this.#closed = true
  }

  #wanted(job: Job): () => boolean {
    return () => this.wants(job)
  }

  #tries(wanted: () => boolean, action: () => Promise<void>): Promise<boolean> {
    return this.#tracked(this.#try(wanted, action))
  }

  /** False where it was not done, and is not wanted any more. */
  async #try(wanted: () => boolean, action: () => Promise<void>): Promise<boolean> {
    for (let waitMs = firstRetryMs; wanted(); waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        await action()
        return true
      } catch (thrown) {
        if (thrown instanceof BusError && thrown.code === 'closed') {
          // Nothing was written: nobody may take it for that, and acknowledge.
          this.#closed = true
          return false
        }
        this.#events.warn('the ledger could not be written; trying again', thrown)
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
    return false
  }

  async #tracked<T>(writing: Promise<T>): Promise<T> {
    this.#unwritten++
    const result = await writing
    this.#unwritten--
    if (!this.busy) for (const resolve of this.#idle.splice(0)) resolve()
    return result
  }
}

/** Nothing is known of it: neither a failure nor a death. */
function isFresh(job: Job): boolean {
  return job.attempts === undefined
}

/** The headers that a dead letter keeps: the message's own, and the claim check of its body. */
function keepable(job: Job) {
  const blob = job.headers?.[wire.blob]
  const own = visibleHeaders(job.headers)
  return blob === undefined ? own : { ...own, [wire.blob]: blob }
}
