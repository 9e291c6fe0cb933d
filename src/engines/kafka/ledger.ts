import { BusError } from '../../errors.ts'
import type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../../ledger/ledger.ts'
import { each } from '../each.ts'
import type { Cluster, Topic } from './cluster.ts'
import { kafkaError } from './failure.ts'
import { Fetcher, type Wanted } from './fetching.ts'
import { ledgerTopic } from './names.ts'
import { listOffsets } from './offsets.ts'
import type { Producer } from './producing.ts'
import { readOne } from './reading.ts'
import type { Read } from './records.ts'
import type { Topics } from './topics.ts'

/** A value up to here is kept in memory; a larger one is read when it is asked for. */
const keptBytes = 1024
/** A value past this is written in pieces. */
const pieceBytes = 512 * 1024
/** In how many pieces a value is. */
const piecesHeader = 'cozebus-pieces'
/** Between a key and the number of a piece: no key holds it. */
const pieceMark = '\u0000'
const together = 32
/** How long a read waits for what was written before it. */
const catchUpMs = 30_000

interface Place {
  readonly offset: number
  readonly pieces: number
  readonly value: Uint8Array | undefined
}

interface Watcher {
  readonly prefix: string
  readonly listener: (key: string) => void
}

interface Page {
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * The ledger in a compacted topic of one partition: the newest record of a key stands. Each process reads it on and knows where
 * the newest of each key lies; a read first catches up with the end, so that it sees what anybody wrote before.
 */
export class KafkaLedger implements Ledger {
  readonly name: string
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #producer: Producer
  readonly #index = new Map<string, Place>()
  readonly #watchers = new Set<Watcher>()
  #opening: Promise<Topic> | undefined
  #part: (Wanted & { cursor: number }) | undefined
  #fetcher: Fetcher<Wanted & { cursor: number }> | undefined
  /** What lies before it was there when it was first read. */
  #old = 0
  #waiting: { readonly offset: number; readonly resolve: () => void }[] = []
  #closed = false

  constructor(name: string, cluster: Cluster, topics: Topics, producer: Producer) {
    this.name = name
    this.#cluster = cluster
    this.#topics = topics
    this.#producer = producer
  }

  // ── the topic ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #open(): Promise<Topic> {
    this.#opening ??= this.#begin().catch((error) => {
      this.#opening = undefined
      throw kafkaError(error, 'the ledger')
    })
    return this.#opening
  }

  async #begin(): Promise<Topic> {
    const there = await this.#cluster.topic(ledgerTopic)
    if (there) await this.#mindItsPolicy(there)
    const topic = there ?? (await this.#make())
    const [start] = await listOffsets(this.#cluster, topic, 'start')
    const [end] = await listOffsets(this.#cluster, topic, 'end')
    this.#old = end!
    this.#part = { topic: ledgerTopic, topicId: topic.id, partition: 0, cursor: start! }
    this.#fetcher = new Fetcher(this.#cluster, {
      wanted: () => (this.#closed ? [] : [this.#part!]),
      take: (part, { records, next }) => {
        for (const record of records) this.#apply(record)
        part.cursor = next
        const done = this.#waiting.filter(({ offset }) => offset <= next)
        if (done.length === 0) return
        this.#waiting = this.#waiting.filter(({ offset }) => offset > next)
        for (const { resolve } of done) resolve()
      },
      replaced: () => {
        // Whoever deleted it deleted what was in it.
        this.#index.clear()
        this.#old = 0
        this.#part = { topic: ledgerTopic, topicId: this.#cluster.known(ledgerTopic)!.id, partition: 0, cursor: 0 }
        for (const { resolve } of this.#waiting.splice(0)) resolve()
      },
      unreadable: () => {},
      outOfRange: async (part) => {
        part.cursor = (await listOffsets(this.#cluster, topic, 'start'))[0]!
      },
    })
    this.#fetcher.wake()
    return topic
  }

  /** One that somebody else made, or a broker that makes topics by itself. A user that may not ask is not told. */
  async #mindItsPolicy(topic: Topic): Promise<void> {
    const name = 'cleanup.policy'
    const policy = await this.#topics.settings(topic, [name]).then(
      (settings) => settings.get(name),
      () => undefined,
    )
    if (policy?.includes('delete'))
      process.emitWarning(
        `topic '${ledgerTopic}' has ${name}=${policy}: the broker deletes dead letters and attempts of it by age or size; set ${name}=compact`,
        { type: 'CozebusWarning', code: 'conflict' },
      )
  }

  #make(): Promise<Topic> {
    if (this.#cluster.target.options.createTopics === false)
      throw new BusError(
        'not_found',
        `topic '${ledgerTopic}' does not exist, and kafka.createTopics is false; make it with one partition and cleanup.policy=compact, or give connect() a ledger`,
      )
    return this.#topics.create(ledgerTopic, 1, { 'cleanup.policy': 'compact' })
  }

  #apply({ offset, key, value, headers }: Read): void {
    if (!key) return
    const name = key.toString()
    if (value === null) this.#index.delete(name)
    else {
      const named = headers.indexOf(piecesHeader)
      const pieces = named < 0 ? 0 : Number(headers[named + 1])
      this.#index.set(name, { offset, pieces, value: value.byteLength <= keptBytes && pieces === 0 ? new Uint8Array(value) : undefined })
    }
    if (offset < this.#old || name.includes(pieceMark)) return
    for (const { prefix, listener } of [...this.#watchers]) if (name.startsWith(prefix)) listener(name.slice(name.indexOf('/') + 1))
  }

  /** Resolves once everything is known that was written before the call. */
  async #caughtUp(): Promise<Topic> {
    const topic = await this.#open()
    const [end] = await listOffsets(this.#cluster, topic, 'end')
    if (this.#part!.cursor < end!) await this.#reached(end!)
    return topic
  }

  #reached(offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((one) => one !== own)
        reject(new BusError('engine_unavailable', 'the ledger could not be read to its end'))
      }, catchUpMs)
      const own = {
        offset,
        resolve: () => {
          clearTimeout(timer)
          resolve()
        },
      }
      this.#waiting.push(own)
    })
  }

  close(): void {
    this.#closed = true
    this.#fetcher?.end()
    for (const { resolve } of this.#waiting.splice(0)) resolve()
  }

  // ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async write(records: readonly LedgerRecord[]): Promise<void> {
    await this.#open()
    const before = records.some(({ space }) => space === 'blobs') ? await this.#piecesOf(records) : new Map<string, number>()
    const outcomes = await Promise.all(records.flatMap(({ space, key, value }) => this.#send(`${space}/${key}`, value, before)))
    for (const outcome of outcomes) if (!outcome.ok) throw kafkaError(outcome.error, 'the ledger')
  }

  /** How many pieces stand that must go with what is deleted. */
  async #piecesOf(records: readonly LedgerRecord[]): Promise<Map<string, number>> {
    await this.#caughtUp()
    return new Map(records.map(({ space, key }) => [`${space}/${key}`, this.#index.get(`${space}/${key}`)?.pieces ?? 0]))
  }

  #send(name: string, value: Uint8Array | undefined, before: ReadonlyMap<string, number>) {
    const pieces = value && value.byteLength > pieceBytes ? Math.ceil(value.byteLength / pieceBytes) : 0
    const sent = []
    // The pieces first: what points at them is written once they are there.
    for (let i = 0; i < Math.max(pieces, before.get(name) ?? this.#index.get(name)?.pieces ?? 0); i++)
      sent.push(this.#put(`${name}${pieceMark}${i}`, i < pieces ? value!.subarray(i * pieceBytes, (i + 1) * pieceBytes) : undefined, 0))
    sent.push(this.#put(name, pieces > 0 ? new Uint8Array(0) : value, pieces))
    return sent
  }

  #put(name: string, value: Uint8Array | undefined, pieces: number) {
    return this.#producer.send({
      topic: ledgerTopic,
      partition: 0,
      key: Buffer.from(name),
      value: value === undefined ? undefined : Buffer.from(value),
      headers: pieces > 0 ? [piecesHeader, String(pieces)] : [],
      timestamp: Date.now(),
    })
  }

  async read(space: LedgerSpace, keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    if (keys.length === 0) return []
    const topic = await this.#caughtUp()
    return this.#values(
      topic,
      keys.map((key) => `${space}/${key}`),
    )
  }

  async #values(topic: Topic, names: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    return each(names, together, (name) => this.#value(topic, name))
  }

  /** What is written anew meanwhile lies elsewhere by then. */
  async #value(topic: Topic, name: string): Promise<Uint8Array | undefined> {
    for (;;) {
      const place = this.#index.get(name)
      if (!place || place.value) return place?.value
      const parts =
        place.pieces === 0
          ? [await this.#at(topic, place.offset)]
          : await this.#values(
              topic,
              Array.from({ length: place.pieces }, (_, i) => `${name}${pieceMark}${i}`),
            )
      if (parts.every((part) => part !== undefined)) return parts.length === 1 ? parts[0] : Buffer.concat(parts as Uint8Array[])
      await this.#caughtUp()
      if (this.#index.get(name) === place) return undefined
    }
  }

  async #at(topic: Topic, offset: number): Promise<Uint8Array | undefined> {
    return (await readOne(this.#cluster, topic, 0, offset))?.value ?? undefined
  }

  async list(space: LedgerSpace, prefix: string, page: Page): Promise<LedgerEntry[]> {
    const keys = await this.keys(space, prefix, page)
    const topic = await this.#open()
    const values = await this.#values(
      topic,
      keys.map((key) => `${space}/${key}`),
    )
    return keys.flatMap((key, i) => (values[i] ? [{ key, value: values[i] }] : []))
  }

  async keys(space: LedgerSpace, prefix: string, { after, limit }: Page): Promise<string[]> {
    return (await this.#all(space, prefix)).filter((key) => after === undefined || key > after).slice(0, limit)
  }

  async count(space: LedgerSpace, prefix: string): Promise<number> {
    return (await this.#all(space, prefix)).length
  }

  async #all(space: LedgerSpace, prefix: string): Promise<string[]> {
    await this.#caughtUp()
    const begin = `${space}/${prefix}`
    const found: string[] = []
    for (const name of this.#index.keys()) if (name.startsWith(begin) && !name.includes(pieceMark)) found.push(name.slice(space.length + 1))
    return found.sort()
  }

  watch(space: LedgerSpace, prefix: string, listener: (key: string) => void): () => void {
    const watcher: Watcher = { prefix: `${space}/${prefix}`, listener }
    this.#watchers.add(watcher)
    this.#open().catch(() => {})
    return () => {
      this.#watchers.delete(watcher)
    }
  }

  // ── names that were cut ───────────────────────────────────────────────────────────────────────────────────────────

  async note(topic: string, storage: string): Promise<void> {
    await this.#open()
    const outcome = await this.#put(`names/${topic}`, Buffer.from(storage), 0)
    if (!outcome.ok) throw kafkaError(outcome.error, 'the ledger')
  }

  async noted(topic: string): Promise<string | undefined> {
    await this.#caughtUp()
    const value = this.#index.get(`names/${topic}`)?.value
    return value && Buffer.from(value).toString()
  }
}
