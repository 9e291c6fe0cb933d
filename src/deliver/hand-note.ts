import type { HandBook } from '../ledger/hand-book.ts'
import type { Job } from './job.ts'

/** How long a finished message may still stand in the note where nothing else is written: who dies meanwhile is taken to have died with it. */
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
  /** As the ledger has it. */
  #written: ReadonlySet<Job> = new Set()
  #writing: Promise<unknown> = Promise.resolve()
  #next: Promise<unknown> | undefined
  #timer: NodeJS.Timeout | undefined

  /** `tries`: until it is done, false where that serves no more. `soon`: what begins next, and is noted along. */
  constructor(book: HandBook, tries: (action: () => Promise<void>) => Promise<boolean>, soon: () => readonly Job[]) {
    this.#book = book
    this.#tries = tries
    this.#soon = soon
  }

  has(job: Job): boolean {
    return this.#jobs.has(job) && this.#written.has(job)
  }

  /** Resolves once the ledger has them. */
  async add(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) this.#jobs.add(job)
    if (!jobs.every((job) => this.#written.has(job))) await this.#write()
  }

  /** Its run is over; the ledger hears of it in a moment. */
  delete(job: Job): void {
    if (this.#jobs.delete(job)) this.#timer ??= setTimeout(() => void this.#write(), tidyMs).unref()
  }

  /** Resolves once the ledger has none of them any more; undefined where it never had. */
  remove(jobs: Iterable<Job>): Promise<unknown> | undefined {
    let had = false
    for (const job of jobs) had = this.#jobs.delete(job) || had
    return had ? this.#write() : undefined
  }

  /** The member leaves: nothing of it is to stay behind. */
  async clear(): Promise<void> {
    this.#jobs.clear()
    await this.#writing
    if (this.#written.size > 0) await this.#write()
  }

  /** One write at a time; whoever comes while one is on its way shares the next. */
  #write(): Promise<unknown> {
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined
      clearTimeout(this.#timer)
      this.#timer = undefined
      for (const job of this.#soon()) this.#jobs.add(job)
      const jobs = new Set(this.#jobs)
      this.#writing = this.#tries(() => this.#book.write([...jobs].map(nameOf))).then((done) => {
        if (done) this.#written = jobs
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
