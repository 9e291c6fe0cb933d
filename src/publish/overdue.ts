import type { Ledger } from '../ledger/ledger.ts'
import { dueOf, hasMinute, minutesBetween } from './schedule-record.ts'

/** How far before the end of the last search the next one begins: for what was written late. */
const againMs = 15_000
/** A search of everything is for what was written later than that, or by a clock that is wrong. */
const wholeEveryMs = 10 * 60_000
/** More minutes than this, after a long sleep, are dearer than everything. */
const minutesMost = 10
const pageMost = 100_000

/**
 * Finds what is due and still waits in the ledger. Everything that waits is listed at the start and every ten minutes, else
 * only the minutes that have just passed, one or two: for 100 000 delayed messages of one hour NATS sends 10 MB of names, for
 * one minute of them 0.2 MB.
 */
export class Overdue {
  readonly #ledger: Ledger
  #wholeUntil = Number.NEGATIVE_INFINITY
  /** All that was due by then has been found. */
  #until = 0

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** Records due by then, and those that no later search would find; most of them are known already. */
  async search(until: number): Promise<string[]> {
    const from = Math.min(this.#until, until) - againMs
    const whole = Math.abs(until - this.#wholeUntil) >= wholeEveryMs || until - from > minutesMost * 60_000
    const found: string[] = []
    for (const prefix of whole ? [''] : minutesBetween(from, until))
      for (const key of await this.#keys(prefix)) if (dueOf(key) <= until || !hasMinute(key)) found.push(key)
    this.#until = until
    if (whole) this.#wholeUntil = until
    return found
  }

  async #keys(prefix: string): Promise<string[]> {
    const found: string[] = []
    for (;;) {
      const page = await this.#ledger.keys('schedules', prefix, { after: found.at(-1), limit: pageMost })
      for (const key of page) found.push(key)
      if (page.length < pageMost) return found
    }
  }
}
