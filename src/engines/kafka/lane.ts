import type { BusError } from '../../errors.ts'
import type { Sending } from './records.ts'

export type Stored =
  | { readonly ok: true; readonly partition: number; readonly offset: number }
  | { readonly ok: false; readonly error: BusError }

/** How the broker knows this producer. */
export interface Identity {
  readonly producerId: bigint
  readonly producerEpoch: number
}

export interface Waiting {
  readonly record: Sending
  readonly size: number
  readonly deadline: number
  readonly done: Done
  /** Its place among those that are told by the same `done`. */
  readonly place: number
}

export type Done = (outcome: Stored, place: number) => void

const firstWaitMs = 20
const lastWaitMs = 500
const mostRecords = 5000

/** What goes to one partition: in its order, one batch at a time, the same again until it is known whether it is stored. */
export class Lane {
  readonly topic: string
  readonly partition: number
  readonly queue: Waiting[] = []
  batch: Waiting[] = []
  /** On its way at this moment. */
  flying = false
  /** The batch went out before and was not answered. */
  doubtful = false
  /** Who leads the partition has to be asked anew. */
  stale = false
  /** Under which {@link sequence} counts. */
  identity: Identity | undefined
  sequence = 0
  notBefore = 0
  #waitMs = 0

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }

  get empty(): boolean {
    return this.batch.length === 0 && this.queue.length === 0
  }

  /** What fits into one batch, where there is none that must go again. */
  fill(bytes: number): void {
    if (this.batch.length > 0) return
    let size = 100
    let count = 0
    while (count < this.queue.length && count < mostRecords) {
      size += this.queue[count]!.size
      if (count > 0 && size > bytes) break
      count++
    }
    this.batch = this.queue.splice(0, count)
  }

  /** Half of the batch first, the rest after it. */
  split(): void {
    this.queue.unshift(...this.batch.splice(Math.ceil(this.batch.length / 2)))
  }

  /** The batch is done with; its members are told by who takes them. */
  take(): Waiting[] {
    const taken = this.batch
    this.batch = []
    this.doubtful = false
    this.notBefore = 0
    this.#waitMs = 0
    return taken
  }

  /** Whether the time of the first one that is in no batch is over. */
  isQueueOverdue(now: number): boolean {
    const [first] = this.queue
    return first !== undefined && first.deadline <= now
  }

  /** Again, a little later. */
  later(now: number): void {
    this.#waitMs = Math.min(lastWaitMs, Math.max(firstWaitMs, this.#waitMs * 2))
    this.notBefore = now + this.#waitMs
  }

  /** When the first one's time is over. */
  get deadline(): number {
    return (this.batch[0] ?? this.queue[0])?.deadline ?? Number.POSITIVE_INFINITY
  }
}
