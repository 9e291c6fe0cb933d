import type { Engine, Outgoing, PublishOutcome } from '../engines/engine.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Events } from '../observe/events.ts'
import type { Sink } from './outbox.ts'

/**
 * Delays for engines that have none: the message waits in the ledger under its due time and is published when that has
 * come. The process that took it in does so; others step in when it is overdue, as that process is gone then. The ledger's
 * record goes after the publish, so a crash between repeats the message and never loses it.
 */
const pollMs = 100
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
  readonly #own = new Set<string>()
  readonly #refused = new Map<string, Refusal>()
  #closed = false

  constructor(engine: Engine, ledger: Ledger, events: Events) {
    this.#engine = engine
    this.#ledger = ledger
    this.#events = events
  }

  start(): void {
    if (this.#timer || this.#closed) return
    this.#timer = setInterval(() => {
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
    for (const { key } of records) this.#own.add(key)
    this.start()
    return batch.map(() => ({ ok: true, position: undefined, duplicate: false }))
  }

  async #run(): Promise<void> {
    try {
      const due = await this.#due(Date.now())
      if (due.length === 0) return
      const values = await this.#ledger.read('schedules', due)
      const keys = due.filter((_, i) => values[i] !== undefined)
      const outcomes = await this.#engine.publish(values.filter((value) => value !== undefined).map(unpack))
      const sent = keys.filter((_, i) => outcomes[i]!.ok)
      await this.#ledger.write(sent.map((key) => ({ space: 'schedules', key, value: undefined })))
      for (const key of sent) {
        this.#own.delete(key)
        this.#refused.delete(key)
      }
      for (const [i, key] of keys.entries()) this.#note(key, outcomes[i]!)
    } catch (error) {
      this.#events.warn('scheduled messages could not be published; trying again', error)
    }
  }

  /** One that is refused holds up no other; it stays, as what refuses it may be mended. */
  #note(key: string, outcome: PublishOutcome): void {
    if (outcome.ok) return
    const waitMs = Math.min(lastRefusalMs, (this.#refused.get(key)?.waitMs ?? firstRefusalMs / 2) * 2)
    this.#refused.set(key, { waitMs, until: Date.now() + waitMs })
    this.#events.warn(`a scheduled message is refused, and tried again in ${waitMs} ms`, outcome.error)
  }

  /** Keys begin with their time: those that are due come first, own ones and others' mixed. */
  async #due(now: number): Promise<string[]> {
    const due: string[] = []
    let after: string | undefined
    for (;;) {
      const page = await this.#ledger.keys('schedules', '', { after, limit: 500 })
      for (const key of page) {
        const at = Number(key.slice(0, 16))
        if (at > now) return due
        if ((this.#own.has(key) || at + graceMs <= now) && (this.#refused.get(key)?.until ?? 0) <= now) due.push(key)
        if (due.length === batchMost) return due
      }
      if (page.length < 500) return due
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
