import type { Engine, Outgoing, PublishOutcome } from '../engines/engine.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Events } from '../observe/events.ts'
import type { Sink } from './outbox.ts'

/**
 * Delays for engines that have none: the message waits in the ledger under its due time and is published when that has
 * come. The process that took it in does so; others step in when it is overdue, as that process is gone then. The ledger's
 * record goes after the publish, so a crash between repeats the message and never loses it.
 */
const pollMs = 50
/** How often the ledger is searched for what others took in and did not send: a search costs a broker more than a look at the clock. */
const searchEveryMs = 5000
/** How long others wait for the process that took a message in. */
const graceMs = 5000
const batchMost = 100

/** A message that the engine refuses is tried again after this, then after twice as long, and so on. */
const firstRefusalMs = 1000
const lastRefusalMs = 60_000

interface Refusal {
  readonly waitMs: number
  readonly until: number
}

export class Scheduler implements Sink {
  readonly #engine: Engine
  readonly #ledger: Ledger
  readonly #events: Events
  /** The same id at the same time is one record. */
  readonly capabilities = { orderedPipelining: true, dedupeWindowMs: Number.POSITIVE_INFINITY }
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  /** Taken in here: when each is due, ms. */
  readonly #own = new Map<string, number>()
  /** When the next of them is due; Infinity for none. */
  #next = Number.POSITIVE_INFINITY
  #searchedAt = 0
  readonly #refused = new Map<string, Refusal>()
  #closed = false

  constructor(engine: Engine, ledger: Ledger, events: Events) {
    this.#engine = engine
    this.#ledger = ledger
    this.#events = events
  }

  #keep(key: string, dueAt: number): void {
    this.#own.set(key, dueAt)
    if (dueAt < this.#next) this.#next = dueAt
  }

  start(): void {
    if (this.#timer || this.#closed) return
    // Not all members of a service at the same moment.
    this.#searchedAt = Date.now() - searchEveryMs * Math.random()
    this.#timer = setInterval(() => {
      const now = Date.now()
      if (now < this.#next && Math.abs(now - this.#searchedAt) < searchEveryMs) return
      this.#busy ??= this.#run().finally(() => {
        this.#busy = undefined
      })
    }, pollMs)
    this.#timer.unref()
  }

  /** Takes messages in; the ledger's word confirms them. */
  async publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    const records = batch.map((message) => ({ space: 'schedules' as const, key: keyOf(message), value: pack(message) }))
    await this.#ledger.write(records)
    for (const [i, { key }] of records.entries()) this.#keep(key, batch[i]!.deliverAt!)
    this.start()
    return batch.map(() => ({ ok: true, position: undefined, duplicate: false }))
  }

  async #run(): Promise<void> {
    try {
      const due = await this.#due(Date.now())
      if (due.length === 0) return
      const values = await this.#ledger.read('schedules', due)
      const keys = due.filter((_, i) => values[i] !== undefined)
      // Somebody else was quicker.
      for (const [i, key] of due.entries()) if (values[i] === undefined) this.#own.delete(key)
      if (keys.length === 0) return
      const outcomes = await this.#engine.publish(values.filter((value) => value !== undefined).map(unpack))
      const sent = keys.filter((_, i) => outcomes[i]!.ok)
      await this.#ledger.write(sent.map((key) => ({ space: 'schedules', key, value: undefined })))
      for (const key of sent) {
        this.#own.delete(key)
        this.#refused.delete(key)
      }
      for (const [i, key] of keys.entries()) this.#note(key, outcomes[i]!)
    } catch (error) {
      this.#next = Date.now() + firstRefusalMs
      this.#events.warn('scheduled messages could not be published; trying again', error)
    }
  }

  /** One that is refused holds up no other; it stays, as what refuses it may be mended. */
  #note(key: string, outcome: PublishOutcome): void {
    if (outcome.ok) return
    const waitMs = Math.min(lastRefusalMs, (this.#refused.get(key)?.waitMs ?? firstRefusalMs / 2) * 2)
    const until = Date.now() + waitMs
    this.#refused.set(key, { waitMs, until })
    if (until < this.#next) this.#next = until
    this.#events.warn(`a scheduled message is refused, and tried again in ${waitMs} ms`, outcome.error)
  }

  /** Own ones by what is known here; others' by a search now and then. */
  async #due(now: number): Promise<string[]> {
    const due: string[] = []
    this.#next = Number.POSITIVE_INFINITY
    for (const [key, dueAt] of this.#own) {
      const at = Math.max(dueAt, this.#refused.get(key)?.until ?? 0)
      if (at <= now && due.length < batchMost) due.push(key)
      else if (at < this.#next) this.#next = at
    }
    if (due.length === batchMost || Math.abs(now - this.#searchedAt) < searchEveryMs) return due
    this.#searchedAt = now
    return [...due, ...(await this.#overdue(now))]
  }

  /** What others took in and did not send in time. Keys begin with their time: those that are due come first. */
  async #overdue(now: number): Promise<string[]> {
    const found: string[] = []
    let after: string | undefined
    for (;;) {
      const page = await this.#ledger.keys('schedules', '', { after, limit: 500 })
      for (const key of page) {
        const at = Number(key.slice(0, 16))
        if (at + graceMs > now) return found
        if (this.#own.has(key)) continue
        // From now on it is looked after here: the next of them need no search.
        this.#keep(key, at)
        found.push(key)
        if (found.length === batchMost) return found
      }
      if (page.length < 500) return found
      after = page.at(-1)!
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#busy
  }
}

function keyOf({ deliverAt, id }: Outgoing): string {
  return `${String(deliverAt).padStart(16, '0')}/${id}`
}

/** The length of a JSON text as 32 bits (big endian), the text, the body. */
function pack({ body, ...meta }: Outgoing): Uint8Array {
  const text = Buffer.from(JSON.stringify(meta))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text, body])
}

function unpack(value: Uint8Array): Outgoing {
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const end = 4 + view.readUInt32BE(0)
  const meta = JSON.parse(view.toString('utf8', 4, end)) as Omit<Outgoing, 'body'>
  return { ...meta, body: value.subarray(end), deliverAt: undefined }
}
