import { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import { inTime } from '../../within.ts'
import type { Page, ReadFrom, StorageName, Stored } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { Consumer, type ConsumerOwner, kinds } from './consumer.ts'
import type { Http } from './http.ts'
import type { Come } from './message.ts'
import { partitionOf } from './names.ts'
import { before, beginning, behind, isBehind, type Place, pagePosition, placesOf } from './places.ts'
import type { MessageId } from './protocol.ts'
import type { Topics } from './topics.ts'

/** Of one partition in a page; and the message that goes beyond it. */
const mostBytes = 16 * 1024 * 1024
const mostPermits = 1000
/** Between one entry and the next, ms. */
const patienceMs = 10_000

interface InternalStats {
  readonly numberOfEntries: number
  readonly totalSize: number
  /** `ledger:entry`; an entry that is there no more, or -1, where the topic was loaded and nothing was stored since. */
  readonly lastConfirmedEntry: string
  readonly ledgers: readonly { readonly ledgerId: number; readonly entries: number }[]
}

/** What is stored of a topic or one partition of it, whoever has settled it. An entry is a message, or a batch of Go or Java. */
export interface Holdings {
  readonly entries: number
  readonly bytes: number
  /** The last entry; undefined: there is none. */
  readonly last: Place | undefined
}

/** What a topic still has, read by a consumer whose place no broker keeps. */
export class History {
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #http: Http

  constructor(cluster: Cluster, topics: Topics, http: Http) {
    this.#cluster = cluster
    this.#topics = topics
    this.#http = http
  }

  async holdings(part: string): Promise<Holdings> {
    const found = (await this.#http.ask('GET', `${this.#topics.path(part)}/internalStats`)) as InternalStats
    const { numberOfEntries: entries, totalSize: bytes, lastConfirmedEntry, ledgers } = found
    const [ledger, entry] = lastConfirmedEntry.split(':').map(Number)
    if (entry! >= 0 && ledgers.some(({ ledgerId }) => ledgerId === ledger))
      return { entries, bytes, last: behind({ ledger: ledger!, entry: entry! }) }
    const full = ledgers.findLast((one) => one.entries > 0)
    return { entries, bytes, last: full && behind({ ledger: full.ledgerId, entry: full.entries - 1 }) }
  }

  /** When the first and the last message of it were published, ms. */
  async edges(storage: StorageName, part: string, last: Place): Promise<{ readonly firstAt: number; readonly lastAt: number } | undefined> {
    const [[first], [newest]] = await Promise.all([
      this.#read(storage, part, beginning, last, 1).then(({ found }) => found),
      this.#read(storage, part, before(last), last, 1).then(({ found }) => found),
    ])
    return first && newest && { firstAt: first.stored.at, lastAt: newest.stored.at }
  }

  /** Up to `limit` messages behind the place, merged by the time they were published. @throws BusError `not_found`, `invalid_argument` */
  async page(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    const topic = (await this.#topics.all()).get(storage)
    if (!topic) throw new BusError('not_found', `no topic '${storage}'`)
    const parts = topic.parts.toSorted((one, other) => partitionOf(one) - partitionOf(other))
    const ends = await Promise.all(parts.map(async (part) => (await this.holdings(part)).last))
    const cursor = await this.#placesOf(parts, ends, after)
    const heads = await Promise.all(
      parts.map(async (part, i) => {
        const end = ends[i]
        return end && isBehind(end, cursor[i]!) ? this.#read(storage, part, cursor[i]!, end, limit) : { found: [], complete: true }
      }),
    )
    const messages: Stored[] = []
    // Past what was read of one of them nothing is known to be next.
    while (messages.length < limit && heads.every(({ found, complete }) => found.length > 0 || complete)) {
      let oldest = -1
      for (const [i, { found }] of heads.entries())
        if (found[0] && (oldest < 0 || found[0].stored.at < heads[oldest]!.found[0]!.stored.at)) oldest = i
      if (oldest < 0) break
      const { id, stored } = heads[oldest]!.found.shift()!
      messages.push({ ...stored, position: stored.position + pagePosition(cursor) })
      cursor[oldest] = id.batch < 0 ? behind(id) : id
    }
    return { messages, next: pagePosition(cursor) }
  }

  async #placesOf(parts: readonly string[], ends: readonly (Place | undefined)[], after: ReadFrom): Promise<Place[]> {
    if (after === 'start') return parts.map(() => beginning)
    if (after === 'end') return ends.map((end) => end ?? beginning)
    if (typeof after === 'string') return placesOf(after, parts.length)
    return Promise.all(parts.map((part, i) => (ends[i] ? this.#placeAt(part, after.timeMs) : beginning)))
  }

  /** By binary search of the broker's, over the times that publishers say. */
  async #placeAt(part: string, timeMs: number): Promise<Place> {
    const path = `${this.#topics.path(part)}/messageid/${Math.max(0, Math.floor(timeMs))}`
    const { ledgerId, entryId } = (await this.#http.ask('GET', path)) as { ledgerId: number; entryId: number }
    return before({ ledger: ledgerId, entry: entryId })
  }

  async #read(storage: StorageName, part: string, after: Place, end: Place, limit: number): Promise<Reading> {
    const reading = new Reading(after, end, limit)
    const name = `cozebus-browse-${newId()}`
    // A batch may be read in the middle: its entry comes once more.
    const start = after.ledger < 0 ? undefined : { ledger: after.ledger, entry: Math.max(0, after.entry), batch: -1, partition: -1 }
    const consumer = new Consumer(
      this.#cluster,
      { topic: part, storage, subscription: name, kind: kinds.exclusive, name, from: 'earliest', durable: false, start },
      reading,
    )
    try {
      await consumer.start()
      await reading.over()
      return reading
    } finally {
      await consumer.close()
    }
  }
}

/** One partition, from a place on, up to its end or as much as a page takes. */
class Reading implements ConsumerOwner {
  readonly found: Come[] = []
  /** Up to its end. */
  complete = false
  readonly #after: Place
  readonly #end: Place
  readonly #limit: number
  #came = Promise.withResolvers<void>()
  #bytes = 0
  #trouble = ''

  constructor(after: Place, end: Place, limit: number) {
    this.#after = after
    this.#end = end
    this.#limit = limit
  }

  /** Resolves once it has all that it is to have. @throws BusError `engine_unavailable` */
  async over(): Promise<void> {
    while (!this.#isOver()) {
      this.#came = Promise.withResolvers()
      await inTime(patienceMs, this.#came.promise, () => this.#late())
    }
  }

  #isOver(): boolean {
    return this.complete || this.found.length >= this.#limit || this.#bytes >= mostBytes
  }

  #late(): BusError {
    const where = `${this.#end.ledger}:${this.#end.entry}`
    return new BusError('engine_unavailable', this.#trouble || `what is stored up to ${where} did not come within ${patienceMs} ms`)
  }

  joined(consumer: Consumer): void {
    // A batch may have been larger than what was left.
    consumer.allow(Math.min(this.#limit, mostPermits) - consumer.permits)
  }

  came(consumer: Consumer, id: MessageId, _count: number, messages: readonly Come[]): void {
    if (this.#isOver()) return
    for (const one of messages) {
      if (!isBehind(one.id, this.#after)) continue
      this.found.push(one)
      this.#bytes += one.stored.body.byteLength
    }
    this.complete = !isBehind(this.#end, behind(id))
    if (!this.#isOver() && consumer.permits <= 0) this.joined(consumer)
    this.#came.resolve()
  }

  troubled(_consumer: Consumer, text: string | undefined): void {
    this.#trouble = text ?? ''
  }

  left(): void {}

  superseded(): void {}
}
