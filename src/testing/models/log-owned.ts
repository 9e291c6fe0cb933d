import type { Delivery } from '../../engines/engine.ts'
import type { LogRecord, Partition } from './log-topic.ts'

interface Waiting {
  readonly record: LogRecord
  /** Not before this time, ms. */
  readonly readyAt: number
}

const mostParked = 1000

/** What one member keeps of a partition while it owns it. The broker knows no more of it than `commit`. */
export class Owned {
  readonly scope: string
  readonly epoch: number
  readonly partition: Partition
  /** Everything before it is settled. */
  commit: number
  readonly inHand = new Map<number, Delivery>()
  readonly #matches: (name: string) => boolean
  readonly #laneOf: (record: LogRecord) => string | undefined
  #cursor: number
  readonly #settled = new Set<number>()
  /** Given back, and what came after it in its lane, by offset: the head holds the rest. */
  readonly #lanes = new Map<string, Waiting[]>()
  #loose: Waiting[] = []
  #parked = 0

  constructor(
    scope: string,
    epoch: number,
    partition: Partition,
    from: number,
    matches: (name: string) => boolean,
    laneOf: (record: LogRecord) => string | undefined,
  ) {
    this.scope = scope
    this.epoch = epoch
    this.partition = partition
    this.commit = from
    this.#cursor = from
    this.#matches = matches
    this.#laneOf = laneOf
  }

  get waiting(): number {
    let count = this.#loose.length
    for (const lane of this.#lanes.values()) count += lane.length
    return count
  }

  /** The record to deliver next, which {@link take} then removes; undefined when none is due. */
  next(now: number): LogRecord | undefined {
    for (const { record, readyAt } of this.#loose) if (readyAt <= now) return record
    for (const [head] of this.#lanes.values()) if (head && head.readyAt <= now) return head.record
    if (this.#cursor < this.partition.base) this.#jump()
    for (;;) {
      const record = this.partition.at(this.#cursor)
      if (!record || this.#parked >= mostParked) return undefined
      const lane = this.#matches(record.name) ? this.#laneOf(record) : undefined
      const held = lane === undefined ? undefined : this.#lanes.get(lane)
      if (held) {
        held.push({ record, readyAt: 0 })
        this.#parked++
      } else if (this.#matches(record.name)) return record
      else this.ack(this.#cursor)
      this.#cursor++
    }
  }

  take(record: LogRecord): void {
    const { offset } = record
    if (offset === this.#cursor) {
      this.#cursor++
      return
    }
    this.#loose = this.#loose.filter((waiting) => waiting.record !== record)
    const lane = this.#laneOf(record)
    const held = lane === undefined ? undefined : this.#lanes.get(lane)
    if (held?.[0]?.record !== record) return
    if (held.shift()!.readyAt === 0) this.#parked--
    if (held.length === 0) this.#lanes.delete(lane!)
  }

  /** Whether it is this member's to settle, settled ones included: an answer may have been lost on the way. */
  knows(offset: number): boolean {
    return offset < this.commit || this.#settled.has(offset)
  }

  ack(offset: number): void {
    this.inHand.delete(offset)
    this.#settled.add(offset)
    while (this.#settled.delete(this.commit)) this.commit++
  }

  release(offset: number, readyAt: number): void {
    this.inHand.delete(offset)
    const record = this.partition.at(offset)
    if (!record) return // retention took it
    const lane = this.#laneOf(record)
    const waiting: Waiting = { record, readyAt }
    if (lane === undefined) {
      this.#loose.push(waiting)
      return
    }
    const held = this.#lanes.get(lane)
    if (!held) this.#lanes.set(lane, [waiting])
    else held.splice(held.filter((other) => other.record.offset < offset).length, 0, waiting)
  }

  /** When the next one given back is due. */
  dueAt(): number {
    let due = Infinity
    for (const { readyAt } of this.#loose) due = Math.min(due, readyAt)
    for (const [head] of this.#lanes.values()) if (head) due = Math.min(due, head.readyAt)
    return due
  }

  /** Retention was faster than the group. */
  #jump(): void {
    this.#cursor = this.partition.base
    this.commit = Math.max(this.commit, Math.min(this.#cursor, ...this.inHand.keys()))
  }
}
