import type { Outgoing, PublishOutcome } from '../engines/engine.ts'
import { type BusError, toBusError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Events } from '../observe/events.ts'
import { lastCallMs, within } from '../within.ts'
import { Agenda, type Entry } from './agenda.ts'
import type { Outbox, Sink } from './outbox.ts'
import { Overdue } from './overdue.ts'
import { dueOf, keyOf, pack, unpack } from './schedule-record.ts'

/**
 * Delays for engines that have none: the message waits in the ledger and goes the way of all others when its time has come,
 * one of a key at a time, in the order of their times. The process that took it in sends it; others step in when it is
 * overdue, as that process is gone then. The ledger's record goes after the publish, so a crash between repeats the message
 * and never loses it.
 */
const pollMs = 50
/** How often the ledger is searched for what others took in and did not send: a search costs a broker more than a look at the clock. */
const searchEveryMs = 5000
/** How long others wait for the process that took a message in. */
const graceMs = 5000
/** Bodies in memory at once. */
const inHandMost = 100
/** How long one try goes on where the engine cannot be reached: others are not to wait for it. */
const patienceMs = 2000
/** A message that the engine refuses is tried again after this, then after twice as long, and so on. */
const firstRefusalMs = 1000
const lastRefusalMs = 60_000

interface Refusal {
  readonly waitMs: number
  readonly until: number
}

interface Taken {
  readonly entry: Entry
  readonly message: Outgoing
}

export class Scheduler implements Sink {
  readonly #outbox: Outbox
  readonly #ledger: Ledger
  readonly #events: Events
  /** The same id at the same time is one record. */
  readonly capabilities = { orderedPipelining: true, dedupeWindowMs: Number.POSITIVE_INFINITY }
  #timer: NodeJS.Timeout | undefined
  readonly #agenda = new Agenda()
  /** Records that are looked after here. */
  readonly #known = new Set<string>()
  /** On their way out: the first of each lane is with the outbox, those behind it wait for its outcome. */
  readonly #lanes = new Map<string, Taken[]>()
  #inHand = 0
  /** By lane. */
  readonly #refused = new Map<string, Refusal>()
  /** Sent; their records are still to be deleted. */
  #sent: string[] = []
  #deleteAt = 0
  readonly #overdue: Overdue
  #searchedAt = 0
  readonly #running = new Map<string, Promise<void>>()
  #closed = false

  constructor(outbox: Outbox, ledger: Ledger, events: Events) {
    this.#outbox = outbox
    this.#ledger = ledger
    this.#events = events
    this.#overdue = new Overdue(ledger)
  }

  start(): void {
    if (this.#timer || this.#closed) return
    // Not all members of a service at the same moment.
    this.#searchedAt = Date.now() - searchEveryMs * Math.random()
    this.#timer = setInterval(this.#look, pollMs)
    this.#timer.unref()
  }

  /** Takes messages in; the ledger's word confirms them, each by itself. */
  async publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    const outcomes = await Promise.all(batch.map((message) => this.#takeIn(message)))
    this.start()
    return outcomes
  }

  async #takeIn(message: Outgoing): Promise<PublishOutcome> {
    const key = keyOf(message)
    let outcome: PublishOutcome = { ok: true, position: undefined, duplicate: false }
    try {
      await this.#ledger.write([{ space: 'schedules', key, value: pack(message) }])
    } catch (thrown) {
      outcome = { ok: false, error: toBusError(thrown, 'publish_unknown') }
    }
    // What may be there goes out in time if it is.
    if (outcome.ok || outcome.error.code === 'publish_unknown') this.#know(key, message.deliverAt!, laneOf(message, key))
    return outcome
  }

  #know(record: string, at: number, lane: string | undefined): void {
    if (this.#known.has(record)) return
    this.#known.add(record)
    this.#agenda.add({ record, due: dueOf(record), at, lane })
  }

  #forget({ record, lane }: Entry): void {
    this.#known.delete(record)
    if (lane !== undefined) this.#refused.delete(lane)
  }

  #look = (): void => {
    if (this.#closed) return
    const now = Date.now()
    if (this.#agenda.next <= now && this.#inHand < inHandMost) this.#run('take', () => this.#take(now))
    if (this.#sent.length > 0 && now >= this.#deleteAt) this.#run('delete', () => this.#delete())
    if (Math.abs(now - this.#searchedAt) >= searchEveryMs) this.#run('search', () => this.#search(now))
  }

  /** One of a name at a time. */
  #run(name: string, work: () => Promise<void>): void {
    if (this.#running.has(name)) return
    const done = work().finally(() => {
      this.#running.delete(name)
      this.#look()
    })
    this.#running.set(name, done)
  }

  async #take(now: number): Promise<void> {
    const due: Entry[] = []
    while (due.length < inHandMost - this.#inHand && this.#agenda.next <= now) {
      const entry = this.#agenda.take()
      if (!this.#putOff(entry, now)) due.push(entry)
    }
    if (due.length === 0) return
    let values: (Uint8Array | undefined)[]
    try {
      values = await this.#ledger.read(
        'schedules',
        due.map(({ record }) => record),
      )
    } catch (error) {
      for (const entry of due) this.#agenda.add({ ...entry, at: now + firstRefusalMs })
      this.#events.warn('scheduled messages could not be read; trying again', error)
      return
    }
    if (this.#closed) return
    for (const [i, entry] of due.entries()) {
      const value = values[i]
      if (value) this.#send(entry, value, now)
      else this.#forget(entry) // somebody else was quicker
    }
  }

  /** What stands behind a refused one of its key waits with it. */
  #putOff(entry: Entry, now: number): boolean {
    const until = entry.lane === undefined ? undefined : this.#refused.get(entry.lane)?.until
    if (until === undefined || until <= now) return false
    this.#agenda.add({ ...entry, at: until })
    return true
  }

  #send({ record, due, at, lane: known }: Entry, value: Uint8Array, now: number): void {
    let message: Outgoing
    try {
      message = unpack(value)
    } catch (error) {
      // Left where it is, for somebody who can read it.
      this.#events.warn(`the scheduled message '${record}' cannot be read`, error)
      return
    }
    const lane = known ?? laneOf(message, record)
    const entry = { record, due, at, lane }
    if (this.#putOff(entry, now)) return
    this.#inHand++
    const before = this.#lanes.get(lane)
    if (before) before.push({ entry, message })
    else {
      this.#lanes.set(lane, [{ entry, message }])
      this.#run(`send ${lane}`, () => this.#sendLane(lane))
    }
  }

  async #sendLane(lane: string): Promise<void> {
    const waiting = this.#lanes.get(lane)!
    for (let first = waiting[0]; first && !this.#closed; first = waiting[0]) {
      const outcome = await this.#publish(first.message)
      if (!outcome.ok) {
        const until = this.#refuse(lane, outcome.error)
        for (const { entry } of waiting) this.#agenda.add({ ...entry, at: until })
        break
      }
      waiting.shift()
      this.#inHand--
      this.#refused.delete(lane)
      this.#sent.push(first.entry.record)
      this.#look()
    }
    this.#inHand -= waiting.length
    this.#lanes.delete(lane)
  }

  #publish(message: Outgoing): Promise<PublishOutcome> {
    return new Promise((done) => this.#outbox.push(message, { signal: undefined, deadline: Date.now() + patienceMs }, done))
  }

  /** It stays, as what refuses it may be mended, and holds up no other key. */
  #refuse(lane: string, error: BusError): number {
    const waitMs = Math.min(lastRefusalMs, (this.#refused.get(lane)?.waitMs ?? firstRefusalMs / 2) * 2)
    const until = Date.now() + waitMs
    this.#refused.set(lane, { waitMs, until })
    this.#events.warn(`a scheduled message is refused, and tried again in ${waitMs} ms`, error)
    return until
  }

  async #delete(): Promise<void> {
    const records = this.#sent
    if (records.length === 0) return
    this.#sent = []
    try {
      await this.#ledger.write(records.map((key) => ({ space: 'schedules', key, value: undefined })))
      for (const record of records) this.#known.delete(record)
    } catch (error) {
      this.#sent.push(...records)
      this.#deleteAt = Date.now() + firstRefusalMs
      this.#events.warn('scheduled messages were sent, and could not be deleted; trying again', error)
    }
  }

  /** What others took in and did not send in time. */
  async #search(now: number): Promise<void> {
    this.#searchedAt = now
    try {
      for (const record of await this.#overdue.search(now - graceMs)) this.#know(record, dueOf(record) + graceMs, undefined)
    } catch (error) {
      this.#events.warn('the ledger could not be searched for scheduled messages; trying again', error)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    // What only looks for more is over. A record that cannot be deleted any more is sent again, under the same id.
    const ending = [...this.#running].filter(([name]) => name !== 'take' && name !== 'search').map(([, done]) => done)
    await within(
      lastCallMs,
      Promise.all(ending).then(() => this.#delete()),
    )
  }
}

/** A message without a key is a lane of its own. */
function laneOf({ storage, key }: Outgoing, record: string): string {
  return key === undefined ? record : `${storage}/${key}`
}
