import { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import { within } from '../../within.ts'
import type { Page, ReadFrom, StorageName, Stored } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { Consumer, type ConsumerOwner, kinds } from './consumer.ts'
import type { Http } from './http.ts'
import type { Come } from './message.ts'
import { partitionOf } from './names.ts'
import { before, behind, isBehind, type Place, pagePosition, placesFor, placesOf, slotOf } from './places.ts'
import type { MessageId } from './protocol.ts'
import type { Topics } from './topics.ts'

/** Of a page; and of each partition the message that goes beyond its share. */
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

interface Part {
  readonly part: string
  readonly slot: number
  readonly end: Place | undefined
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

  /** Up to `limit` messages behind the place, merged by the time they were published. @throws BusError `not_found`, `invalid_argument` */
  async page(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    const topic = (await this.#topics.all()).get(storage)
    if (!topic) throw new BusError('not_found', `no topic '${storage}'`)
    const parts = await Promise.all(
      topic.parts.map(async (part) => ({ part, slot: slotOf(partitionOf(part)), end: (await this.holdings(part)).last })),
    )
    parts.sort((one, other) => one.slot - other.slot)
    const cursor = await this.#placesOf(parts, after)
    const bytes = mostBytes / parts.length
    const heads = await Promise.all(
      parts.map(async ({ part, slot, end }) => ({
        slot,
        ...(end && isBehind(end, cursor[slot]!)
          ? await this.#read(storage, part, new Reading(cursor[slot]!, end, limit, bytes))
          : { found: [], complete: true }),
      })),
    )
    const messages: Stored[] = []
    // Past what was read of one of them nothing is known to be next.
    while (messages.length < limit && heads.every(({ found, complete }) => found.length > 0 || complete)) {
      let oldest: (typeof heads)[number] | undefined
      for (const head of heads) if (head.found[0] && !(oldest && oldest.found[0]!.stored.at <= head.found[0].stored.at)) oldest = head
      if (!oldest) break
      const { id, stored } = oldest.found.shift()!
      messages.push({ ...stored, position: stored.position + pagePosition(cursor) })
      cursor[oldest.slot] = id.batch < 0 ? behind(id) : id
    }
    return { messages, next: pagePosition(cursor) }
  }

  async #placesOf(parts: readonly Part[], after: ReadFrom): Promise<Place[]> {
    const partitions = parts.map(({ part }) => partitionOf(part))
    if (typeof after === 'string' && after !== 'start' && after !== 'end') return placesOf(after, partitions)
    const places = placesFor(partitions)
    if (after === 'start') return places
    for (const { part, slot, end } of parts)
      if (end) places[slot] = typeof after === 'object' ? await this.#placeAt(part, after.timeMs) : end
    return places
  }

  /** By binary search of the broker's, over the times that publishers say. */
  async #placeAt(part: string, timeMs: number): Promise<Place> {
    const path = `${this.#topics.path(part)}/messageid/${Math.max(0, Math.floor(timeMs))}`
    const { ledgerId, entryId } = (await this.#http.ask('GET', path)) as { ledgerId: number; entryId: number }
    return before({ ledger: ledgerId, entry: entryId })
  }

  async #read(storage: StorageName, part: string, reading: Reading): Promise<Reading> {
    const { after } = reading
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
  readonly after: Place
  readonly #end: Place
  readonly #limit: number
  readonly #mostBytes: number
  #came = Promise.withResolvers<void>()
  #bytes = 0
  #heard = false
  #isJoined = false
  #trouble = ''

  constructor(after: Place, end: Place, limit: number, bytes: number) {
    this.after = after
    this.#end = end
    this.#limit = limit
    this.#mostBytes = bytes
  }

  /** Resolves once it has all that it is to have. @throws BusError `engine_unavailable` */
  async over(): Promise<void> {
    while (!this.#isOver()) {
      this.#came = Promise.withResolvers()
      this.#heard = false
      await within(patienceMs, this.#came.promise)
      if (this.#heard) continue
      if (!this.#isJoined || this.#trouble !== '') throw this.#late()
      // Nothing is wrong, so nothing more is given: not the marks of transactions, nor what lies behind an open one.
      this.complete = true
    }
  }

  #isOver(): boolean {
    return this.complete || this.found.length >= this.#limit || this.#bytes >= this.#mostBytes
  }

  #late(): BusError {
    const where = `${this.#end.ledger}:${this.#end.entry}`
    return new BusError('engine_unavailable', this.#trouble || `what is stored up to ${where} did not come within ${patienceMs} ms`)
  }

  joined(consumer: Consumer): void {
    this.#isJoined = true
    // A batch may have been larger than what was left.
    consumer.allow(Math.min(this.#limit, mostPermits) - consumer.permits)
  }

  came(consumer: Consumer, id: MessageId, _count: number, messages: readonly Come[]): void {
    if (this.#isOver()) return
    for (const one of messages) {
      if (!isBehind(one.id, this.after)) continue
      this.found.push(one)
      this.#bytes += one.stored.body.byteLength
    }
    this.complete = !isBehind(this.#end, behind(id))
    if (!this.#isOver() && consumer.permits <= 0) this.joined(consumer)
    this.#heard = true
    this.#came.resolve()
  }

  troubled(_consumer: Consumer, text: string | undefined): void {
    this.#trouble = text ?? ''
  }

  left(): void {
    this.#isJoined = false
  }

  superseded(): void {}
}
