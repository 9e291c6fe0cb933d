import type { Delivery, Source } from '../engine.ts'
import { decodeRecord, type Read } from './records.ts'
import { type Mark, mostBeside, rangesOf, readMark, within, writeMark } from './settled.ts'

/** As it is handed out; whoever settles it gives back the same object. */
interface Handed extends Delivery {
  readonly offset: number
}

interface Waiting {
  readonly delivery: Handed
  /** Not before this time, ms; 0 = behind another of its lane. */
  readonly readyAt: number
  readonly bytes: number
}

/** What was handed out or left out of a partition, in the order of the log. */
interface Entry {
  readonly offset: number
  settled: boolean
  /** While it is in somebody's hand. */
  delivery: Handed | undefined
}

/** Given back and held behind it: past so many of them nothing new is handed out. */
const mostWaiting = 1000
/**
 * So many more than are handed out are said to be: each word of it is a commit. More where handlers are fast, as many as are
 * handed out while some commits are on their way, so that none waits for one.
 */
const leastSaid = 500
const mostSaid = 5000
const commitsAhead = 4
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
  /** How many are in somebody's hand. */
  inHand = 0
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
  /** How many were handed out between the last two commits, and where the newer one of them found it. */
  #stride = 0
  #markedAt: number
  readonly #laneOf: (delivery: Delivery) => string | undefined
  #fresh: Read[] = []
  #head = 0
  /** From {@link #first} on; what is before it is settled. */
  #entries: Entry[] = []
  #first = 0
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
    this.#markedAt = from.offset
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

  /** The next that may be handed out, and is from here on. */
  take(now: number): Delivery | undefined {
    if (this.leaving) return undefined
    const again = this.#waiting > 0 ? this.#takeWaiting(now) : undefined
    if (again) return again
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
      this.#shift()
      const entry = this.#note(record.offset, false)
      if (!held) return this.#hand(entry, delivery)
      held.push(this.#wait(delivery, 0))
    }
    return undefined
  }

  /** Of what was given back: one whose time has come. */
  #takeWaiting(now: number): Handed | undefined {
    const loose = this.#loose.findIndex(({ readyAt }) => readyAt <= now)
    if (loose >= 0) return this.#unwait(this.#loose.splice(loose, 1)[0]!)
    for (const [lane, held] of this.#lanes) {
      if (!(held[0]!.readyAt <= now)) continue
      const head = held.shift()!
      if (held.length === 0) this.#lanes.delete(lane)
      return this.#unwait(head)
    }
    return undefined
  }

  #unwait({ delivery, bytes }: Waiting): Handed {
    this.#waiting--
    this.waitingBytes -= bytes
    return this.#hand(this.#entryAt(delivery.offset)!, delivery)
  }

  #hand(entry: Entry, delivery: Handed): Handed {
    entry.delivery = delivery
    this.inHand++
    return delivery
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
    const first = this.#entries[this.#first]
    return first !== undefined && this.#fresh[this.#head]!.offset - first.offset > mostAhead
  }

  #held(delivery: Delivery): Waiting[] | undefined {
    if (this.#lanes.size === 0) return undefined
    const lane = this.#laneOf(delivery)
    return lane === undefined ? undefined : this.#lanes.get(lane)
  }

  #deliveryOf(record: Read): Handed {
    const { offset } = record
    const { storage, name, id, key, headers, body, at, position } = decodeRecord(
      record,
      this.source.storage,
      this.partition,
      `${this.partition}:${offset}`,
    )
    const redelivered = offset < this.#before.handed
    return { storage, name, id, key, headers, body, at, position, redelivered, fence: this.epoch, scope: this.scope, offset }
  }

  #shift(): void {
    this.buffered -= weight(this.#fresh[this.#head]!)
    this.#head++
    if (this.#head < 1000 && this.#head < this.#fresh.length) return
    this.#fresh = this.#fresh.slice(this.#head)
    this.#head = 0
  }

  #note(offset: number, settled: boolean): Entry {
    const entry: Entry = { offset, settled, delivery: undefined }
    this.#entries.push(entry)
    if (settled) this.#trim()
    return entry
  }

  /** Most logs have no gaps: it is where it is counted to be. */
  #entryAt(offset: number): Entry | undefined {
    let low = this.#first
    let high = this.#entries.length
    if (low === high) return undefined
    let middle = low + offset - this.#entries[low]!.offset
    if (!(middle >= low && middle < high)) middle = (low + high) >>> 1
    while (low < high) {
      const entry = this.#entries[middle]!
      if (entry.offset === offset) return entry
      if (entry.offset < offset) low = middle + 1
      else high = middle
      middle = (low + high) >>> 1
    }
    return undefined
  }

  #wait(delivery: Handed, readyAt: number): Waiting {
    const { body, key, headers } = delivery
    let bytes = body.byteLength + (key?.length ?? 0)
    for (const name in headers) bytes += name.length + headers[name]!.length
    this.#waiting++
    this.waitingBytes += bytes
    return { delivery: { ...delivery, body: alone(body) }, readyAt, bytes }
  }

  // ── what becomes of it ────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether this very delivery of it is in somebody's hand: it may have been given back since, and be in another's. */
  holds(delivery: Delivery): boolean {
    return this.#entryAt(offsetOf(delivery))?.delivery === delivery
  }

  /** Whether it is this member's to settle, settled ones included: an answer may have been lost on the way. */
  knows(delivery: Delivery): boolean {
    const offset = offsetOf(delivery)
    return this.#entryAt(offset)?.settled ?? offset < this.floor
  }

  ack(delivery: Delivery): void {
    const entry = this.#entryAt(offsetOf(delivery))
    if (!entry) return
    this.#letGo(entry)
    entry.settled = true
    this.#trim()
  }

  #letGo(entry: Entry): Handed | undefined {
    const { delivery } = entry
    if (delivery) this.inHand--
    entry.delivery = undefined
    return delivery
  }

  #trim(): void {
    while (this.#entries[this.#first]?.settled) this.#first++
    if (this.#first < 1000 && this.#first < this.#entries.length) return
    this.#entries = this.#entries.slice(this.#first)
    this.#first = 0
  }

  release(given: Delivery, readyAt: number): void {
    const entry = this.#entryAt(offsetOf(given))
    const delivery = entry && this.#letGo(entry)
    if (!delivery) return
    const lane = this.#laneOf(delivery)
    const waiting = this.#wait({ ...delivery, redelivered: true }, readyAt)
    if (lane === undefined) {
      this.#loose.push(waiting)
      return
    }
    const held = this.#lanes.get(lane)
    if (!held) this.#lanes.set(lane, [waiting])
    else held.splice(held.filter((other) => other.delivery.offset < delivery.offset).length, 0, waiting)
  }

  /** When the next one given back is due; never, while it is to go. */
  dueAt(): number {
    let due = Number.POSITIVE_INFINITY
    if (this.leaving || this.#waiting === 0) return due
    for (const { readyAt } of this.#loose) due = Math.min(due, readyAt)
    for (const [head] of this.#lanes.values()) if (head) due = Math.min(due, head.readyAt)
    return due
  }

  /** All before it is settled. */
  get floor(): number {
    return this.#entries[this.#first]?.offset ?? this.#fresh[this.#head]?.offset ?? this.cursor
  }

  /** What is to be committed: the first that is not settled, and what is known past it in so many bytes. */
  mark(beside = mostBeside): { readonly offset: number; readonly metadata: string; readonly handed: number; readonly text: string } {
    const first = this.floor
    const handed = this.#reach()
    // What the one before has settled and nobody has come to here yet is still so.
    const come = this.#fresh[this.#head]?.offset ?? this.cursor
    const ahead = this.#before.settled.flatMap(([from, to]) => (to > come ? [[Math.max(from, come), to] as const] : []))
    const metadata = writeMark(first, { handed, settled: [...rangesOf(this.#entries, this.#first), ...ahead] }, beside)
    return { offset: first, metadata, handed, text: `${first} ${metadata}` }
  }

  /** A little further than what was handed out, so that the next need not wait; and no further once nothing more will be. */
  #reach(): number {
    const last = this.#entries.at(-1)
    if (this.leaving) return Math.max(this.#before.handed, last === undefined ? 0 : last.offset + 1)
    const head = this.#fresh[this.#head]
    const ahead = Math.min(mostSaid, Math.max(leastSaid, commitsAhead * this.#stride))
    return Math.max(this.handed, head === undefined ? 0 : Math.min(this.cursor, head.offset + ahead))
  }

  /** The broker has taken it. */
  marked({ text, handed }: ReturnType<Part['mark']>): void {
    const come = this.#fresh[this.#head]?.offset ?? this.cursor
    this.committed = text
    this.handed = handed
    this.#stride = come - this.#markedAt
    this.#markedAt = come
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

export function offsetOf(delivery: Pick<Delivery, 'position'>): number {
  return (delivery as Partial<Handed>).offset ?? Number(delivery.position.slice(delivery.position.indexOf(':') + 1))
}
