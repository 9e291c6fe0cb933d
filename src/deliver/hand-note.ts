import { type HandBook, saidEveryMs } from '../ledger/hand-book.ts'
import type { Job } from './job.ts'

/** How long a finished message may still stand in the note where nothing else is written: for others its member had it, and may have died with it. */
const tidyMs = 200

/**
 * What this member has in hand, as the ledger knows it: where the engine cannot tell a redelivery, whoever gets a message
 * finds there that a process died with it. Written before a handler begins, in one record for all that begin in a moment.
 */
export class HandNote {
  readonly #book: HandBook
  readonly #tries: (action: () => Promise<void>) => Promise<boolean>
  readonly #soon: () => readonly Job[]
  readonly #jobs = new Set<Job>()
  readonly #saying: NodeJS.Timeout
  /** The ledger has a record. */
  #there = false
  #writing: Promise<unknown> = Promise.resolve()
  #next: Promise<unknown> | undefined
  #tidying: NodeJS.Timeout | undefined

  /** `tries`: until it is done, false where that serves no more. `soon`: what begins next, and is noted along. */
  constructor(book: HandBook, tries: (action: () => Promise<void>) => Promise<boolean>, soon: () => readonly Job[]) {
    this.#book = book
    this.#tries = tries
    this.#soon = soon
    this.#saying = setInterval(() => this.#jobs.size > 0 && void this.#write(), saidEveryMs).unref()
  }

  /** Resolves once the ledger has them. */
  async add(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) this.#jobs.add(job)
    if (!jobs.every((job) => job.noted)) await this.#write()
  }

  /** Its run is over; the ledger hears of it in a moment. */
  delete(job: Job): void {
    if (this.#jobs.delete(job)) this.#tidying ??= setTimeout(() => void this.#write(), tidyMs).unref()
  }

  /** Resolves once the ledger has none of them any more; undefined where nothing of them was on here. */
  remove(jobs: Iterable<Job>): Promise<unknown> | undefined {
    let had = false
    for (const job of jobs) had = this.#jobs.delete(job) || had
    return had ? this.#write() : undefined
  }

  /** The member leaves: nothing of it is to stay behind. */
  async clear(): Promise<void> {
    clearInterval(this.#saying)
    this.#jobs.clear()
    await this.#writing
    if (this.#there) await this.#write()
  }

  /** One write at a time; whoever comes while one is on its way shares the next. */
  #write(): Promise<unknown> {
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined
      clearTimeout(this.#tidying)
      this.#tidying = undefined
      for (const job of this.#soon()) this.#jobs.add(job)
      const jobs = [...this.#jobs]
      this.#writing = this.#tries(() => this.#book.write(jobs.map(nameOf))).then((done) => {
        if (!done) return
        this.#there = jobs.length > 0
        for (const job of jobs) job.noted = true
      })
      return this.#writing
    })
    return this.#next
  }
}

/** How the book calls a message. Neither part holds the separator. */
export function nameOf({ storage, id }: Job): string {
  return `${storage}/${id}`
}
