import { BusError } from '../../../errors.ts'
import { buffersOf, type Columns } from '../columns.ts'
import { type Calls, type Command, settleFields } from '../protocol.ts'
import { storeError } from './failure.ts'
import { gather, type Operation, turnMessages } from './operation.ts'
import type { Store } from './store.ts'

const sweepEveryMs = 10_000
const sweepAgainMs = 10
/** After a failure that is nobody's fault (a full disk), before the store tries by itself again. */
const restMs = 1000
/** How long other writers may hold the lock before health says so, and what is to be stored is refused: its caller may try again. */
const busyMost = 10_000

/**
 * Gathers what is asked into turns. A turn is one transaction for everything that waits: publishers of a moment share one
 * wait for the disk, and what they published is claimed for the groups of this process in the same transaction.
 */
export class Turns {
  readonly #store: Store
  #queue: Operation[] = []
  /** When every sweep runs; those that have more to do go on in between, at `sweepAt`. */
  #beatAt: number
  #sweepAt: number
  #retentionHasMore = false
  #keyValuesHaveMore = false
  #recordsHaveMore = false
  #restUntil = 0
  #busySince = 0
  #troubled = false
  #steppedAt = 0
  #corrupt: BusError | undefined
  /** When another process last wrote. */
  foreignAt = 0

  constructor(store: Store, now: number) {
    this.#store = store
    // Not all processes of a machine that starts them together at once.
    this.#beatAt = now + sweepEveryMs * Math.random()
    this.#sweepAt = this.#beatAt
  }

  accept(command: Command): void {
    const store = this.#store
    switch (command.op) {
      case 'grant':
        store.subscriptions.grant(command.subscription, command.messages, command.bytes)
        break
      case 'publish': {
        const { call, columns } = command
        this.#queue.push({
          call,
          mode: 'durable',
          messages: columns.count,
          bytes: columns.bodies.byteLength,
          run: (now) => this.#publish(call, columns, now),
        })
        break
      }
      case 'settle': {
        const { call, subscription, rows } = command
        this.#queue.push({
          call,
          mode: 'light',
          messages: rows.length / settleFields,
          bytes: 0,
          run: (now) => store.out.push({ op: 'settled', call, lost: store.subscriptions.settle(subscription, rows, now) }),
        })
        break
      }
      case 'call':
        if (command.name !== 'close') this.#call(command.call, command.name, command.args)
    }
  }

  /** Whether anything is queued. */
  get waiting(): boolean {
    return this.#queue.length > 0
  }

  /** SQLite found the file corrupt: nothing is written any more, whoever asks, for each write may make it worse. */
  get corrupt(): boolean {
    return this.#corrupt !== undefined
  }

  /** At a close that cannot wait any longer: what is queued is refused. */
  giveUp(): void {
    this.#refuse(() => true)
  }

  #refuse(which: (operation: Operation) => boolean): void {
    const message = `${this.#store.db.where}: another process does not let go of its lock; nothing of this was stored`
    for (const operation of this.#queue)
      if (which(operation)) this.#store.out.push({ op: 'failed', call: operation.call, code: 'engine_unavailable', message })
    this.#queue = this.#queue.filter((operation) => !which(operation))
    this.#store.out.send()
  }

  /** Does what there is to do. `busy`: another process holds the lock. */
  step(now: number): 'worked' | 'idle' | 'busy' {
    if (this.#corrupt) return this.#salvage(now, this.#corrupt)
    const store = this.#store
    if (now < this.#steppedAt) this.#clockSetBack(now)
    this.#steppedAt = now
    try {
      const foreign = store.db.changedElsewhere()
      if (foreign) this.#changedElsewhere(now)
      const batch = gather(this.#queue)
      if (batch.length > 0 && batch.every(({ mode }) => mode === 'read')) {
        this.#queue.splice(0, batch.length)
        for (const operation of batch) this.#read(operation, now)
        this.#finish(now)
        return 'worked'
      }
      const resting = now < this.#restUntil
      if (batch.length === 0 && (resting || !this.#hasOwnWork(now))) {
        const more = store.live.hasMore
        if (foreign || more) this.#finish(now)
        return more ? 'worked' : 'idle'
      }
      if (
        !this.#begin(
          batch.some(({ mode }) => mode === 'durable' || mode === 'alone'),
          now,
        )
      )
        return this.#busy(now)
      this.#busySince = 0
      this.#queue.splice(0, batch.length)
      this.#turn(batch, now, resting)
    } catch (error) {
      this.#trouble(error, now)
    }
    return 'worked'
  }

  nextTimer(): number {
    const { subscriptions, publishing } = this.#store
    return Math.max(this.#restUntil, Math.min(this.#sweepAt, publishing.nextDue, subscriptions.nextTimer()))
  }

  #turn(batch: readonly Operation[], now: number, resting: boolean): void {
    const { db, out, publishing } = this.#store
    try {
      for (const operation of batch) this.#attempt(operation, now)
      if (!resting) this.#ownWork(now)
      this.#store.topics.flush()
      db.commit()
    } catch (error) {
      this.#undo()
      const corrupt = storeError(error, db.where).code === 'store_corrupt'
      if (corrupt) this.#queue.unshift(...batch) // the next step refuses them
      // One of them may be at fault, or the store itself: each gets a turn of its own, which tells.
      if (corrupt || batch.length === 0) this.#trouble(error, now)
      else if (batch.length === 1 && (resting || error instanceof BusError)) this.#fail(batch[0]!, error)
      else this.#oneByOne(batch, now)
      out.send()
      return
    }
    publishing.touched.clear()
    out.committed()
    if (this.#troubled) this.#health(true, 'the store works again')
    this.#finish(now)
  }

  #begin(durable: boolean, now: number): boolean {
    const { db } = this.#store
    if (!db.begin(durable)) return false
    // Since the last look another process may have given the sequences that this one would give.
    if (db.changedElsewhere()) this.#changedElsewhere(now)
    return true
  }

  /** A turn for each. Where another process takes the lock in between, the rest goes back to the front: order is kept. */
  #oneByOne(batch: readonly Operation[], now: number): void {
    for (const [i, operation] of batch.entries()) {
      try {
        if (this.#corrupt || !this.#begin(operation.mode !== 'light', now)) {
          this.#queue.unshift(...batch.slice(i))
          return
        }
        this.#single(operation, now)
      } catch (error) {
        this.#fail(operation, error)
      }
      // What is rolled back next takes its own answers along, and no others.
      this.#store.out.send()
    }
  }

  /** A turn of one operation and nothing else; it has begun. */
  #single(operation: Operation, now: number): void {
    const { db, out, topics, publishing, subscriptions } = this.#store
    try {
      this.#attempt(operation, now)
      topics.flush()
      db.commit()
    } catch (error) {
      this.#undo()
      this.#fail(operation, error)
      return
    }
    subscriptions.wakeTopics(publishing.touched)
    publishing.touched.clear()
    out.committed()
  }

  /** A refusal is the operation's own answer; anything else ends the turn. */
  #attempt(operation: Operation, now: number): void {
    try {
      operation.run(now)
    } catch (error) {
      if (operation.mode === 'alone' || !(error instanceof BusError)) throw error
      this.#fail(operation, error)
    }
  }

  /** Outside a turn nothing is to be undone. */
  #read(operation: Operation, now: number): void {
    try {
      operation.run(now)
    } catch (error) {
      this.#fail(operation, error)
    }
  }

  /** What can still be read is; everything else is refused. */
  #salvage(now: number, corrupt: BusError): 'worked' | 'idle' {
    if (this.#queue.length === 0) return 'idle'
    for (const operation of this.#queue.splice(0)) {
      if (operation.mode === 'read') this.#read(operation, now)
      else this.#fail(operation, corrupt)
    }
    this.#store.out.send()
    return 'worked'
  }

  #hasOwnWork(now: number): boolean {
    const { subscriptions, publishing, questions } = this.#store
    return now >= this.#sweepAt || now >= publishing.nextDue || subscriptions.hasWork(now) || (!questions.idle && questions.hasWork(now))
  }

  #ownWork(now: number): void {
    const { subscriptions, publishing, questions } = this.#store
    if (now >= publishing.nextDue) publishing.moveDue(now, turnMessages)
    subscriptions.wakeTopics(publishing.touched)
    if (!questions.idle) questions.work(now)
    subscriptions.bury()
    subscriptions.claim(now)
    if (now >= this.#sweepAt) this.#sweep(now)
  }

  #sweep(now: number): void {
    const { undertaker, retention, records, keyValues, questions } = this.#store
    const beat = now >= this.#beatAt
    if (beat || this.#retentionHasMore) this.#retentionHasMore = retention.sweep(now)
    if (beat || this.#keyValuesHaveMore) this.#keyValuesHaveMore = keyValues.sweep(now)
    if (beat || this.#recordsHaveMore) this.#recordsHaveMore = records.sweep(now)
    if (beat) {
      if (undertaker.look(now)) questions.lookAgain()
      questions.sweep(now)
      this.#beatAt = now + sweepEveryMs
    }
    this.#sweepAt = this.#retentionHasMore || this.#keyValuesHaveMore || this.#recordsHaveMore ? now + sweepAgainMs : this.#beatAt
  }

  #publish(call: number, columns: Columns, now: number): void {
    const { out, publishing } = this.#store
    const { positions, duplicates, errors } = publishing.store(columns, now)
    out.push({ op: 'published', call, positions, duplicates, errors }, [positions.buffer as ArrayBuffer])
  }

  #call(call: number, name: Exclude<keyof Calls, 'close'>, args: readonly unknown[]): void {
    const { calls, out } = this.#store
    const { mode, run } = calls[name]
    this.#queue.push({
      call,
      mode,
      messages: 1,
      bytes: 0,
      run: (now) => {
        const value = run(args, now)
        out.push({ op: 'done', call, value }, name === 'read' ? buffersOf((value as { columns: Columns }).columns) : undefined)
      },
    })
  }

  #clockSetBack(now: number): void {
    const { subscriptions, undertaker } = this.#store
    this.#beatAt = Math.min(this.#beatAt, now + sweepEveryMs)
    this.#sweepAt = Math.min(this.#sweepAt, this.#beatAt)
    this.#restUntil = Math.min(this.#restUntil, now + restMs)
    if (this.#busySince > 0) this.#busySince = now
    this.foreignAt = 0
    undertaker.clockSetBack()
    subscriptions.clockSetBack()
  }

  #changedElsewhere(now: number): void {
    const { subscriptions, publishing } = this.#store
    this.foreignAt = now
    this.#store.forget()
    subscriptions.wakeForeign(now)
    publishing.readNextDue()
  }

  #finish(now: number): void {
    this.#store.tell(now)
    this.#store.out.send()
  }

  #undo(): void {
    const { db, out, publishing } = this.#store
    db.rollback()
    publishing.touched.clear()
    this.#store.forget()
    out.rolledBack()
    publishing.readNextDue()
  }

  #fail(operation: Operation, thrown: unknown): void {
    const { code, message } = this.#judge(thrown)
    this.#store.out.push({ op: 'failed', call: operation.call, code, message })
  }

  #busy(now: number): 'busy' {
    this.#busySince ||= now
    if (now - this.#busySince <= busyMost) return 'busy'
    // The rest (settling, leaving) is not for the caller to try again: it is done once the lock is free.
    this.#refuse(({ mode }) => mode === 'durable' || mode === 'alone')
    if (!this.#troubled)
      this.#health(false, `${this.#store.db.where}: other processes have held its lock for more than ${busyMost / 1000} s`)
    return 'busy'
  }

  #trouble(thrown: unknown, now: number): void {
    this.#restUntil = now + restMs
    this.#judge(thrown)
    this.#store.out.send()
  }

  /** What was thrown, in the words of the bus; what is no refusal shows in health. */
  #judge(thrown: unknown): BusError {
    const error = storeError(thrown, this.#store.db.where)
    if (thrown instanceof BusError) return error
    if (error.code === 'store_corrupt' && !this.#corrupt) {
      this.#corrupt = error
      this.#store.db.suspect()
      this.#restUntil = Number.POSITIVE_INFINITY
      this.#troubled = false // whatever was wrong before, this is told
    }
    this.#health(false, error.message)
    return error
  }

  #health(ok: boolean, detail: string): void {
    if (this.#troubled === !ok) return
    this.#troubled = !ok
    this.#store.out.push({ op: 'health', ok, detail, forGood: this.corrupt })
    this.#store.out.send()
  }
}
