import type { Capabilities, Engine, Outgoing, PublishOutcome } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import type { Events } from '../observe/events.ts'

/** A message on its way out. `done` is called exactly once. */
export interface Parcel {
  readonly message: Outgoing
  readonly signal: AbortSignal | undefined
  readonly deadline: number
  readonly done: (outcome: PublishOutcome) => void
}

/** Where messages go: an engine, or the ledger for those whose time has not come. */
export interface Sink {
  readonly capabilities: Pick<Capabilities, 'orderedPipelining' | 'dedupeWindowMs'>
  publish: Engine['publish']
}

interface Batch {
  parcels: Parcel[]
  bytes: number
}

const firstRetryMs = 20
const lastRetryMs = 1000
const batchMost = 1000
const batchBytes = 4 * 1024 * 1024
/** Bytes of bodies unconfirmed at once; a single larger one goes alone. */
const windowBytes = 64 * 1024 * 1024

/**
 * The way out: at most `window` messages and 64 MiB unconfirmed, one batch a tick, one unconfirmed message a key where the engine
 * does not keep the order of several, and a retry with the same id for as long as the caller's time lasts.
 */
export class Outbox {
  readonly #sink: Sink
  readonly #window: number
  readonly #events: Events | undefined
  /** Waiting for room in the window, in order. */
  #queue: Parcel[] = []
  #head = 0
  #unconfirmed = 0
  #unconfirmedBytes = 0
  #scheduled = false
  /** Keys with an unconfirmed message, and those that wait behind it. */
  readonly #keys = new Map<string, Parcel[]>()
  /** On an engine that pipelines: what is being sent again, and how many of each lane. */
  readonly #repeating = new Set<Parcel>()
  readonly #held = new Map<string, number>()
  #idle: (() => void)[] = []
  /** Storages that took the last message: others may have to be made first, or be out of order, and have batches of their own. */
  readonly #taking = new Set<string>()

  /** `events`: told of what is confirmed; absent where that is not yet the engine's word. */
  constructor(sink: Sink, window: number, events: Events | undefined) {
    this.#sink = sink
    this.#window = window
    this.#events = events
  }

  /** Messages handed in and not yet confirmed. */
  get pending(): number {
    return this.#unconfirmed + this.#queue.length - this.#head
  }

  push(parcel: Parcel): void {
    this.#queue.push(parcel.signal ? abortable(parcel, parcel.signal) : parcel)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#isFull()) return
    this.#scheduled = true
    setImmediate(this.#flush)
  }

  #flush = (): void => {
    this.#scheduled = false
    const together: Batch = { parcels: [], bytes: 0 }
    let apart: Map<string, Batch> | undefined
    while (this.#head < this.#queue.length && !this.#isFull()) {
      const parcel = this.#queue[this.#head]!
      this.#queue[this.#head++] = undefined as unknown as Parcel
      if (parcel.signal?.aborted) {
        parcel.done({
          ok: false,
          error: new BusError('aborted', 'the publish was aborted before it was sent; nothing was stored', { cause: parcel.signal.reason }),
        })
        continue
      }
      this.#unconfirmed++
      this.#unconfirmedBytes += parcel.message.body.byteLength
      if (this.#mustWait(parcel)) continue
      const { storage, body } = parcel.message
      let batch: Batch | undefined = together
      if (!this.#taking.has(storage)) {
        batch = (apart ??= new Map()).get(storage)
        if (!batch) apart.set(storage, (batch = { parcels: [], bytes: 0 }))
      }
      batch.parcels.push(parcel)
      batch.bytes += body.byteLength
      if (batch.parcels.length >= batchMost || batch.bytes >= batchBytes) {
        void this.#send(batch.parcels)
        batch.parcels = []
        batch.bytes = 0
      }
    }
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
    } else if (this.#head > 4096) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    for (const { parcels } of apart ? [together, ...apart.values()] : [together]) if (parcels.length > 0) void this.#send(parcels)
    this.#tellIdle() // all that was left may have been aborted
  }

  #isFull(): boolean {
    return this.#unconfirmed >= this.#window || this.#unconfirmedBytes >= windowBytes
  }

  /** Whether an earlier message of the key is unconfirmed on an engine that might let this one pass it. */
  #mustWait(parcel: Parcel): boolean {
    const { key, storage } = parcel.message
    if (key === undefined || (this.#sink.capabilities.orderedPipelining && this.#keys.size === 0)) return false
    const lane = `${storage}/${key}`
    const waiting = this.#keys.get(lane)
    if (this.#sink.capabilities.orderedPipelining) {
      waiting?.push(parcel) // one before it is being sent again
      return waiting !== undefined
    }
    if (waiting) waiting.push(parcel)
    else this.#keys.set(lane, [])
    return waiting !== undefined
  }

  async #send(batch: Parcel[]): Promise<void> {
    let left = batch
    const begun = performance.now()
    /** What may be stored, whatever a later try says. */
    const doubtful = new Set<Parcel>()
    for (let waitMs = firstRetryMs; left.length > 0; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      let outcomes: readonly PublishOutcome[]
      try {
        outcomes = await this.#sink.publish(left.map((parcel) => parcel.message))
      } catch (thrown) {
        const error = toBusError(thrown, 'publish_unknown')
        outcomes = left.map(() => ({ ok: false, error }))
      }
      const again: Parcel[] = []
      const now = Date.now()
      for (const [i, parcel] of left.entries()) {
        const outcome = outcomes[i]!
        if (outcome.ok) this.#taking.add(parcel.message.storage)
        else if (mayRepeat(outcome.error)) this.#taking.delete(parcel.message.storage)
        if (!outcome.ok && outcome.error.code === 'publish_unknown') doubtful.add(parcel)
        // What may be stored is sent again only while the engine stores the same id once.
        const forMs = doubtful.has(parcel) ? this.#sink.capabilities.dedupeWindowMs - (performance.now() - begun) : Number.POSITIVE_INFINITY
        const repeat = !outcome.ok && mayRepeat(outcome.error) && waitMs < forMs && now + waitMs < parcel.deadline
        if (repeat && !parcel.signal?.aborted) again.push(parcel)
        else this.#confirm(parcel, doubtful.has(parcel) ? unknown(outcome) : outcome)
      }
      for (const parcel of again) this.#hold(parcel)
      left = again
      if (left.length > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }

  /** What is sent again is behind everything that was sent since: on an engine that pipelines, later ones of its key wait for it. */
  #hold(parcel: Parcel): void {
    const { key, storage } = parcel.message
    if (key === undefined || !this.#sink.capabilities.orderedPipelining || this.#repeating.has(parcel)) return
    const lane = `${storage}/${key}`
    this.#repeating.add(parcel)
    this.#held.set(lane, (this.#held.get(lane) ?? 0) + 1)
    if (!this.#keys.has(lane)) this.#keys.set(lane, [])
  }

  #letGo(parcel: Parcel): void {
    if (!this.#repeating.delete(parcel)) return
    const lane = `${parcel.message.storage}/${parcel.message.key}`
    const left = this.#held.get(lane)! - 1
    if (left > 0) {
      this.#held.set(lane, left)
      return
    }
    const waiting = this.#keys.get(lane)!
    this.#held.delete(lane)
    this.#keys.delete(lane)
    if (waiting.length > 0) void this.#send(waiting)
  }

  #confirm(parcel: Parcel, outcome: PublishOutcome): void {
    this.#unconfirmed--
    this.#unconfirmedBytes -= parcel.message.body.byteLength
    const { key, storage } = parcel.message
    if (key !== undefined && !this.#sink.capabilities.orderedPipelining) {
      const lane = `${storage}/${key}`
      const next = this.#keys.get(lane)?.shift()
      if (next) void this.#send([next])
      else this.#keys.delete(lane)
    }
    this.#letGo(parcel)
    if (outcome.ok) this.#events?.published(storage, 1)
    parcel.done(outcome)
    if (this.#head < this.#queue.length) this.#schedule()
    this.#tellIdle()
  }

  #tellIdle(): void {
    if (this.pending === 0 && this.#idle.length > 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Resolves once everything handed in is confirmed or refused. */
  drain(): Promise<void> {
    if (this.pending === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }
}

function mayRepeat({ code }: BusError): boolean {
  return code === 'engine_unavailable' || code === 'publish_unknown'
}

/** A refusal of a later try says nothing of an earlier one that was never answered. */
function unknown(outcome: PublishOutcome): PublishOutcome {
  if (outcome.ok || outcome.error.code === 'publish_unknown') return outcome
  const message = `the message may be stored: a try was never answered, and a later one failed: ${outcome.error.message}`
  return { ok: false, error: new BusError('publish_unknown', message, { cause: outcome.error }) }
}

/** The parcel whose caller stops waiting when the signal aborts; what is sent by then goes its way. */
function abortable(parcel: Parcel, signal: AbortSignal): Parcel {
  let waiting = true
  const done = (outcome: PublishOutcome): void => {
    if (!waiting) return
    waiting = false
    signal.removeEventListener('abort', abort)
    parcel.done(outcome)
  }
  const abort = (): void => {
    const message = 'the publish was aborted; what was sent already may be stored all the same'
    done({ ok: false, error: new BusError('aborted', message, { cause: signal.reason }) })
  }
  signal.addEventListener('abort', abort)
  return { ...parcel, done }
}
