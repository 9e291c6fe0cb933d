import { type Database, isBusy, storeError } from './database.ts'

interface Work {
  readonly durable: boolean
  readonly run: () => unknown
  readonly resolve: (value: any) => void
  readonly reject: (error: unknown) => void
}

const turnMost = 64
const impatientMs = 10_000

/** All writes of a tick share one transaction. A store that another process writes to is tried again in a moment, without blocking. */
export class Turns {
  readonly #database: Database
  readonly #onHealth: (ok: boolean, detail: string) => void
  #queue: Work[] = []
  #scheduled = false
  #busySince = 0
  #closed = false

  constructor(database: Database, onHealth: (ok: boolean, detail: string) => void) {
    this.#database = database
    this.#onHealth = onHealth
  }

  write<T>(run: () => T, durable = true): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ durable, run, resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#turn)
  }

  #turn = (): void => {
    this.#scheduled = false
    if (this.#queue.length === 0 || this.#closed) return
    const works = this.#queue.slice(0, turnMost)
    const outcome = this.#transact(works)
    if (outcome === 'busy') {
      const now = Date.now()
      this.#busySince ||= now
      if (now - this.#busySince > impatientMs)
        this.#onHealth(false, `the store has been locked by another process for ${Math.round((now - this.#busySince) / 1000)} s`)
      this.#scheduled = true
      setTimeout(this.#turn, 0.5 + Math.random() * 2)
      return
    }
    if (this.#busySince > 0) {
      this.#busySince = 0
      this.#onHealth(true, 'open')
    }
    this.#queue = this.#queue.slice(works.length)
    if (this.#queue.length > 0) this.#schedule()
    if (outcome !== 'failed') return
    // One of them cannot be done: each has its own transaction then, so that it fails alone.
    for (const work of works) while (this.#transact([work], true) === 'busy');
  }

  #transact(works: readonly Work[], alone = false): 'done' | 'busy' | 'failed' {
    const { db } = this.#database
    let values: unknown[]
    try {
      this.#database.durable(works.some((work) => work.durable))
      db.exec('BEGIN IMMEDIATE')
    } catch (error) {
      if (isBusy(error)) return 'busy'
      for (const work of works) work.reject(storeError(error, this.#database.path))
      return 'done'
    }
    try {
      values = works.map((work) => work.run())
      db.exec('COMMIT')
    } catch (error) {
      try {
        db.exec('ROLLBACK')
      } catch {
        // SQLite has rolled back by itself, as it does when the disk is full.
      }
      if (!alone && works.length > 1) return 'failed'
      works[0]!.reject(storeError(error, this.#database.path))
      return 'done'
    }
    for (const [i, work] of works.entries()) work.resolve(values[i])
    return 'done'
  }

  close(): void {
    this.#closed = true
  }

  get pending(): number {
    return this.#queue.length
  }
}
