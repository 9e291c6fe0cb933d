import type { Delivery, Source } from '../engine.ts'
import { decodeRecord, type Read } from './records.ts'
import { type Mark, mostBeside, rangesOf, readMark, within, writeMark } from './settled.ts'

interface Waiting {
  readonly delivery: Delivery
  /** Not before this time, ms; 0 = behind another of its lane. */
  readonly readyAt: number
  readonly bytes: number
}

/** What was handed out or left out of a partition, in the order of the log. */
interface Entry {
  readonly offset: number
  settled: boolean
}

/** Given back and held behind it: past so many of them nothing new is handed out. */
const mostWaiting = 1000
/** So many more than are handed out are said to be: each word of it is a commit. */
const ahead = 500
/** How far the newest that was handed out may be ahead of the oldest that is not settled. */
const mostAhead = 10_000

/** What one member keeps of a partition while it owns it. The broker knows no more of it than what is committed. */
export class Part {
  readonly scope: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly source: Source
  readonly epoch: number
  readonly inHand = new Map<number, Delivery>()
  /** Where the next fetch begins. */
  cursor: number
  /** Fetched and not handed out. */
  buffered = 0
  /** Of what was given back, and is held behind it. */
  waitingBytes = 0
  /** To be given up: nothing more is handed out. */
  leaving = false
  /** The member has too much in its memory that waits, some of it here: nothing new is handed out. */
  crowded = false
  /** What the broker has of it; undefined: not known. */
  committed: string | undefined
  /** Why the broker takes no commit of it: its own name of the error. */
  refused: string | undefined
  /** Up to here the broker knows that messages may be in somebody's hand; none further is handed out. */
  handed: number
  readonly #laneOf: (delivery: Delivery) => string | undefined
  #fresh: Read[] = []
  #head = 0
  readonly #entries: Entry[] = []
  readonly #byOffset = new Map<number, Entry>()
  /** How the one before left it. */
  readonly #before: Mark
  /** Given back, and what came after it in its lane, in order: the head holds the rest. */
  readonly #lanes = new Map<string, Waiting[]>()
  readonly #loose: Waiting[] = []
  #waiting = 0

  constructor(
    place: {
      readonly topic: string
      readonly topicId: string
      readonly partition: number
      readonly source: Source
      readonly epoch: number
    },
    from: { readonly offset: number; readonly metadata: string },
    laneOf: (delivery: Delivery) => string | undefined,
  ) {
    this.topic = place.topic
    this.topicId = place.topicId
    this.partition = place.partition
    this.source = place.source
    this.epoch = place.epoch
    this.scope = `${place.topic}/${place.partition}`
    this.cursor = from.offset
    this.#before = readMark(from.offset, from.metadata)
    this.handed = this.#before.handed
    this.#laneOf = laneOf
    this.committed = `${from.offset} ${from.metadata}`
  }

  // ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  push(records: readonly Read[], next: number): void {
    for (const record of records) {
      if (record.offset < this.cursor) continue
      this.#fresh.push(record)
      this.buffered += weight(record)
    }
    this.cursor = Math.max(this.cursor, next)
  }

  /** Retention was faster than the group. */
  jump(to: number): void {
    this.cursor = to
  }

  // ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  get waiting(): number {
    return this.#waiting
  }

  /** The next that may be handed out; {@link take} removes it. */
  next(now: number): Delivery | undefined {
    if (this.leaving) return undefined
    for (const { delivery, readyAt } of this.#loose) if (readyAt <= now) return delivery
    for (const [head] of this.#lanes.values()) if (head && head.readyAt <= now) return head.delivery
    while (this.#head < this.#fresh.length && !this.#full && !this.#tooFar()) {
      const record = this.#fresh[this.#head]!
      if (within(this.#before.settled, record.offset)) {
        this.#shift()
        this.#note(record.offset, true)
        continue
      }
      if (record.offset >= this.handed) return undefined
      const delivery = this.#deliveryOf(record)
      const held = this.#held(delivery)
      if (!held) return delivery
      this.#shift()
      this.#note(record.offset, false)
      held.push(this.#wait(delivery, 0))
    }
    return undefined
  }

  /** It has something that may be handed out once the broker knows. */
  get wantsMark(): boolean {
    const head = this.#fresh[this.#head]
    return head !== undefined && head.offset >= this.handed && !this.leaving && !this.#full && !this.#tooFar()
  }

  /** Nothing new of it can be handed out before something else has happened: what is fetched of it lies there. */
  get stuck(): boolean {
    const head = this.#fresh[this.#head]
    if (this.#full || head === undefined) return this.#full
    return this.#tooFar() || (this.refused !== undefined && head.offset >= this.handed)
  }

  get #full(): boolean {
    return this.#waiting >= mostWaiting || this.crowded
  }

  #tooFar(): boolean {
    const [first] = this.#entries
    return first !== undefined && this.#fresh[this.#head]!.offset - first.offset > mostAhead
  }

  #held(delivery: Delivery): Waiting[] | undefined {
    if (this.#lanes.size === 0) return undefined
    const lane = this.#laneOf(delivery)
    return lane === undefined ? undefined : this.#lanes.get(lane)
  }

  #deliveryOf(record: Read): Delivery {
    const position = `${this.partition}:${record.offset}`
    return Object.assign(decodeRecord(record, this.source.storage, this.partition, position), {
      redelivered: record.offset < this.#before.handed,
      fence: this.epoch,
      scope: this.scope,
    })
  }

  #shift(): void {
    this.buffered -= weight(this.#fresh[this.#head]!)
    this.#head++
    if (this.#head < 1000 && this.#head < this.#fresh.length) return
    this.#fresh = this.#fresh.slice(this.#head)
    this.#head = 0
  }

  #note(offset: number, settled: boolean): void {
    const entry = { offset, settled }
    this.#entries.push(entry)
    this.#byOffset.set(offset, entry)
    if (settled) this.#trim()
  }

  take(delivery: Delivery): void {
    const offset = offsetOf(delivery)
    this.inHand.set(offset, delivery)
    if (this.#fresh[this.#head]?.offset === offset) {
      this.#shift()
      this.#note(offset, false)
      return
    }
    const lane = this.#laneOf(delivery)
    const held = lane === undefined ? this.#loose : this.#lanes.get(lane)!
    const [waiting] = held.splice(
      held.findIndex((one) => one.delivery === delivery),
      1,
    )
    this.#waiting--
    this.waitingBytes -= waiting!.bytes
    if (lane !== undefined && held.length === 0) this.#lanes.delete(lane)
  }

  #wait(delivery: Delivery, readyAt: number): Waiting {
    const { body, key, headers } = delivery
    let bytes = body.byteLength + (key?.length ?? 0)
    for (const name in headers) bytes += name.length + headers[name]!.length
    this.#waiting++
    this.waitingBytes += bytes
    return { delivery: { ...delivery, body: alone(body) }, readyAt, bytes }
  }

  // ── what becomes of it ────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether it is this member's to settle, settled ones included: an answer may have been lost on the way. */
  knows(offset: number): boolean {
    return this.#byOffset.get(offset)?.settled ?? offset < this.floor
  }

  ack(offset: number): void {
    this.inHand.delete(offset)
    const entry = this.#byOffset.get(offset)
    if (!entry) return
    entry.settled = true
    this.#trim()
  }

  #trim(): void {
    let gone = 0
    while (this.#entries[gone]?.settled) this.#byOffset.delete(this.#entries[gone++]!.offset)
    if (gone > 0) this.#entries.splice(0, gone)
  }

  release(offset: number, readyAt: number): void {
    const delivery = this.inHand.get(offset)
    if (!delivery) return
    this.inHand.delete(offset)
    const lane = this.#laneOf(delivery)
    const waiting = this.#wait({ ...delivery, redelivered: true }, readyAt)
    if (lane === undefined) {
      this.#loose.push(waiting)
      return
    }
    const held = this.#lanes.get(lane)
    if (!held) this.#lanes.set(lane, [waiting])
    else held.splice(held.filter((other) => offsetOf(other.delivery) < offset).length, 0, waiting)
  }

  /** When the next one given back is due; never, while it is to go. */
  dueAt(): number {
    let due = Number.POSITIVE_INFINITY
    if (this.leaving) return due
    for (const { readyAt } of this.#loose) due = Math.min(due, readyAt)
    for (const [head] of this.#lanes.values()) if (head) due = Math.min(due, head.readyAt)
    return due
  }

  /** All before it is settled. */
  get floor(): number {
    return this.#entries[0]?.offset ?? this.#fresh[this.#head]?.offset ?? this.cursor
  }

  /** What is to be committed: the first that is not settled, and what is known past it in so many bytes. */
  mark(beside = mostBeside): { readonly offset: number; readonly metadata: string; readonly handed: number; readonly text: string } {
    const first = this.floor
    const handed = this.#reach()
    // What the one before has settled and nobody has come to here yet is still so.
    const come = this.#fresh[this.#head]?.offset ?? this.cursor
    const ahead = this.#before.settled.flatMap(([from, to]) => (to > come ? [[Math.max(from, come), to] as const] : []))
    const metadata = writeMark(first, { handed, settled: [...rangesOf(this.#entries), ...ahead] }, beside)
    return { offset: first, metadata, handed, text: `${first} ${metadata}` }
  }

  /** A little further than what was handed out, so that the next need not wait; and no further once nothing more will be. */
  #reach(): number {
    const last = this.#entries.at(-1)
    if (this.leaving) return Math.max(this.#before.handed, last === undefined ? 0 : last.offset + 1)
    const head = this.#fresh[this.#head]
    return Math.max(this.handed, head === undefined ? 0 : Math.min(this.cursor, head.offset + ahead))
  }
}

/** What it is in the memory, about. */
function weight({ size, headers }: Read): number {
  return 64 + size + 16 * headers.length
}

/** A body that is part of what it came in would keep all of that in the memory. A Buffer, as it is at the first try. */
function alone(body: Uint8Array): Uint8Array {
  return body.byteLength < body.buffer.byteLength ? Buffer.from(new Uint8Array(body).buffer) : body
}

export function offsetOf({ position }: Pick<Delivery, 'position'>): number {
  return Number(position.slice(position.indexOf(':') + 1))
}
