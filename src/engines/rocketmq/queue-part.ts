import type { Delivery, Source } from '../engine.ts'
import type { Queue } from './cluster.ts'
import type { Finished } from './finished.ts'
import { mostMarked, rowOf } from './locks.ts'
import { fenceOf, storedOf, uniqueOf, type WireMessage } from './message.ts'
import { queueKey } from './offsets.ts'

interface Waiting {
  readonly delivery: Delivery
  /** Not before this time, ms; 0 = behind another of its lane. */
  readonly readyAt: number
  /** Those of its lane before it that were in hand when it was given back: while they are, its turn has not come. */
  readonly after: readonly Delivery[]
}

/** What was handed out of a queue, in its order. */
interface Entry {
  readonly offset: number
  readonly unique: string
  settled: boolean
}

/** Given back and held behind it: past so many of them nothing more is handed out. */
const mostWaiting = 1000
/** How far the newest that was handed out may be ahead of the oldest that is not settled. */
const mostAhead = mostMarked

export interface Place {
  readonly topic: string
  /** As it is called on the brokers. */
  readonly group: string
  readonly queue: Queue
  readonly source: Source
  readonly epoch: number
  readonly offset: number
  /** What owners before settled past the place. */
  readonly settled: ReadonlySet<number>
}

/** What one member keeps of a queue while it is its own. The broker knows no more of it than how far it is settled. */
export class QueuePart {
  readonly place: Place
  readonly scope: string
  readonly inHand = new Map<number, Delivery>()
  /** Where the next pull begins. */
  cursor: number
  /** Pulled and not handed out, bytes. */
  buffered = 0
  /** To be given up, by this time; nothing more is handed out. */
  leavingUntil: number | undefined
  /** When the core was asked last to give it back. */
  askedBackAt = 0
  /** The broker is asked whether it is still ours: nothing is handed out meanwhile. */
  doubtful = false
  /** Since when, `performance.now()`. */
  doubtedAt = 0
  /** When the broker said last that it is ours, `performance.now()`. */
  lockedAt: number
  /** What the broker has of it. */
  committed: number
  committing: Promise<void> | undefined
  /** How often it was to be told all anew: what is under way then does not count. */
  toldAgain = 0
  /** Of what is settled past the place, what the broker does not know. */
  readonly newRows = new Set<number>()
  readonly #laneOf: (delivery: Delivery) => string | undefined
  #fresh: WireMessage[] = []
  #head = 0
  readonly #entries: Entry[] = []
  readonly #byOffset = new Map<number, Entry>()
  readonly #finished: Finished
  /** By what is the same on each copy of a message, the one of them that was handed out; and the others, settled with it. */
  readonly #first = new Map<string, number>()
  readonly #copies = new Map<number, number[]>()
  /** Given back, and what came after it in its lane, in order: the head holds the rest. */
  readonly #lanes = new Map<string, Waiting[]>()
  readonly #loose: Waiting[] = []
  /** The last that was handed out, or passed over. */
  #passedTo = -1
  #waiting = 0

  constructor(place: Place, lockedAt: number, finished: Finished, laneOf: (delivery: Delivery) => string | undefined) {
    this.place = place
    this.#finished = finished
    this.scope = scopeOf(place.topic, place.queue)
    this.cursor = place.offset
    this.committed = place.offset
    this.lockedAt = lockedAt
    this.#laneOf = laneOf
  }

  // ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  push(messages: readonly WireMessage[], next: number): void {
    for (const message of messages) {
      if (message.offset < this.cursor) continue
      this.#fresh.push(message)
      this.buffered += weight(message)
    }
    this.cursor = Math.max(this.cursor, next)
  }

  // ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  get waiting(): number {
    return this.#waiting
  }

  /** The next that may be handed out; {@link take} removes it. */
  next(now: number): Delivery | undefined {
    if (this.leavingUntil !== undefined || this.doubtful) return undefined
    for (const { delivery, readyAt } of this.#loose) if (readyAt <= now) return delivery
    for (const [head] of this.#lanes.values()) if (head && head.readyAt <= now && this.#hasTurn(head)) return head.delivery
    while (this.#head < this.#fresh.length && this.#waiting < mostWaiting && !this.#tooFar()) {
      const message = this.#fresh[this.#head]!
      const unique = this.#uniqueOf(message)
      if (this.place.settled.has(message.offset) || this.#finished.has(unique)) {
        this.#shift()
        this.ack(message.offset)
        continue
      }
      // The timer of a broker that was killed stores again what it had stored in its last moments.
      const first = this.#first.get(unique)
      if (first !== undefined) {
        this.#shift()
        this.#copies.set(first, [...(this.#copies.get(first) ?? []), message.offset])
        continue
      }
      const delivery = this.#deliveryOf(message)
      const lane = this.#lanes.size === 0 ? undefined : this.#laneOf(delivery)
      const held = lane === undefined ? undefined : this.#lanes.get(lane)
      if (!held) return delivery
      this.#shift()
      held.push({ delivery, readyAt: 0, after: [] })
      this.#waiting++
    }
    return undefined
  }

  #uniqueOf(message: WireMessage): string {
    return uniqueOf(message, this.place.queue.broker.name)
  }

  #hasTurn({ after }: Waiting): boolean {
    return after.every((delivery) => this.inHand.get(offsetOf(delivery)) !== delivery)
  }

  #tooFar(): boolean {
    const [first] = this.#entries
    return first !== undefined && this.#fresh[this.#head]!.offset - first.offset > mostAhead
  }

  #deliveryOf(message: WireMessage): Delivery {
    const { source, queue, epoch } = this.place
    const position = `${queueKey(queue)}:${message.offset}`
    return Object.assign(storedOf(message, source.storage, position), {
      redelivered: fenceOf(message) > 1,
      fence: epoch,
      scope: this.scope,
    })
  }

  #shift(): void {
    const message = this.#fresh[this.#head]!
    const entry = { offset: message.offset, unique: this.#uniqueOf(message), settled: false }
    if (!this.#first.has(entry.unique)) this.#first.set(entry.unique, entry.offset)
    this.#entries.push(entry)
    this.#byOffset.set(message.offset, entry)
    this.#passedTo = message.offset
    this.buffered -= weight(message)
    this.#head++
    if (this.#head < 1000 && this.#head < this.#fresh.length) return
    this.#fresh = this.#fresh.slice(this.#head)
    this.#head = 0
  }

  take(delivery: Delivery): void {
    const offset = offsetOf(delivery)
    this.inHand.set(offset, delivery)
    if (this.#fresh[this.#head]?.offset === offset) {
      this.#shift()
      return
    }
    this.#drop(delivery)
  }

  /** Nothing that lies before it is handed out any more. */
  passTo(offset: number): void {
    while (this.#head < this.#fresh.length && this.#fresh[this.#head]!.offset < offset) {
      const passed = this.#fresh[this.#head]!.offset
      this.#shift()
      this.ack(passed)
    }
    this.cursor = Math.max(this.cursor, offset)
    for (const { delivery } of [...this.#loose, ...[...this.#lanes.values()].flat()]) {
      const passed = offsetOf(delivery)
      if (passed >= offset) continue
      this.#drop(delivery)
      this.ack(passed)
    }
  }

  /** It waits no longer. */
  #drop(delivery: Delivery): void {
    this.#waiting--
    const offset = offsetOf(delivery)
    const lane = this.#laneOf(delivery)
    const held = lane === undefined ? this.#loose : this.#lanes.get(lane)!
    held.splice(
      held.findIndex((one) => offsetOf(one.delivery) === offset),
      1,
    )
    if (lane !== undefined && held.length === 0) this.#lanes.delete(lane)
  }

  // ── what becomes of it ────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether it is settled: an answer may have been lost on the way. */
  isSettled(offset: number): boolean {
    return this.#byOffset.get(offset)?.settled ?? offset < this.floor
  }

  ack(offset: number): void {
    this.inHand.delete(offset)
    const entry = this.#byOffset.get(offset)
    if (!entry) return
    this.#settled(entry)
    for (const copy of this.#copies.get(offset) ?? []) this.#settled(this.#byOffset.get(copy)!)
    this.#copies.delete(offset)
    let gone = 0
    while (this.#entries[gone]?.settled) this.#byOffset.delete(this.#entries[gone++]!.offset)
    if (gone > 0) this.#entries.splice(0, gone)
  }

  #settled(entry: Entry): void {
    entry.settled = true
    this.newRows.add(rowOf(entry.offset))
    this.#finished.add(entry.unique)
    if (this.#first.get(entry.unique) === entry.offset) this.#first.delete(entry.unique)
  }

  release(offset: number, readyAt: number): void {
    const delivery = this.inHand.get(offset)
    if (!delivery) return
    this.inHand.delete(offset)
    this.#waiting++
    const lane = this.#laneOf(delivery)
    const again = { ...delivery, redelivered: true }
    if (lane === undefined) {
      this.#loose.push({ delivery: again, readyAt, after: [] })
      return
    }
    const after: Delivery[] = []
    for (const [other, one] of this.inHand) if (other < offset && this.#laneOf(one) === lane) after.push(one)
    const waiting: Waiting = { delivery: again, readyAt, after }
    const held = this.#lanes.get(lane)
    if (!held) this.#lanes.set(lane, [waiting])
    else held.splice(held.filter((other) => offsetOf(other.delivery) < offset).length, 0, waiting)
  }

  /** When the next one given back is due. */
  dueAt(): number {
    let due = Number.POSITIVE_INFINITY
    for (const { readyAt } of this.#loose) due = Math.min(due, readyAt)
    for (const [head] of this.#lanes.values()) if (head && this.#hasTurn(head)) due = Math.min(due, head.readyAt)
    return due
  }

  /** Those that owners before settled and that are not passed yet stay in their rows, which are written whole. */
  settledOffsets(): number[] {
    const passed = this.#entries.filter(({ settled }) => settled).map(({ offset }) => offset)
    // What was deleted before it was passed lies before the place.
    const from = Math.max(this.#passedTo + 1, this.floor)
    const ahead = [...this.place.settled].filter((offset) => offset >= from)
    return ahead.length === 0 ? passed : [...passed, ...ahead]
  }

  /** The broker is told all of it once more. */
  tellAgain(): void {
    this.committed = -1
    this.toldAgain++
    for (const offset of this.settledOffsets()) this.newRows.add(rowOf(offset))
  }

  /** How many are settled behind one that is not. */
  get settledPast(): number {
    return this.#entries.reduce((sum, { settled }) => sum + (settled ? 1 : 0), 0)
  }

  /** All before it is settled. */
  get floor(): number {
    return this.#entries[0]?.offset ?? this.#fresh[this.#head]?.offset ?? this.cursor
  }
}

/** As what the core knows a queue that is owned. */
export const scopeOf = (topic: string, queue: Queue): string => `${topic}/${queueKey(queue)}`

function weight({ body, properties }: WireMessage): number {
  return 64 + body.byteLength + properties.size * 32
}

export function offsetOf({ position }: Pick<Delivery, 'position'>): number {
  return Number(position.slice(position.lastIndexOf(':') + 1))
}
