import type { Capabilities, Confirmed, Engine, Outgoing, PublishOutcome } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import type { Events } from '../observe/events.ts'

/** A message on its way out. */
export interface Parcel {
  readonly message: Outgoing
  readonly signal: AbortSignal | undefined
  readonly deadline: number
  readonly done: (outcome: PublishOutcome) => void
  /** Of its body, as it was handed in. */
  readonly bytes: number
  /** What order is kept by, its storage's key; undefined where it has none. */
  readonly lane: string | undefined
  /** Of one that failed. */
  failed: Failed | undefined
}

interface Failed {
  /** Its first try: when, in the clock of `performance`, and which of all, in their order. */
  readonly sentAt: number
  readonly place: number
  /** What its last try said. */
  said: PublishOutcome
  /** It may be stored, whatever a later try says. */
  doubtful: boolean
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

/** A key of which something failed on an engine that pipelines: what failed, in order, and what was handed in since. */
interface Repair {
  readonly line: Parcel[]
  readonly later: Parcel[]
}

/** So long what is published waits for company while the engine has work enough. */
const companyMs = 1
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
  #scheduled: 'now' | 'soon' | undefined
  #timer: NodeJS.Timeout | undefined
  #tries = 0
  /** Where the engine may let one pass another: keys with an unconfirmed message, and those that wait behind it. */
  readonly #keys = new Map<string, Parcel[]>()
  /** Those whose turn has come: what was before them of their key is confirmed. */
  readonly #turns: Parcel[] = []
  /** On an engine that pipelines: keys of which something has to go again. */
  readonly #repairs = new Map<string, Repair>()
  readonly #flying = new Set<readonly Parcel[]>()
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

  /** `done` is called exactly once. */
  push(message: Outgoing, { signal, deadline }: Pick<Parcel, 'signal' | 'deadline'>, done: Parcel['done']): void {
    const { storage, key } = message
    const lane = key === undefined ? undefined : `${storage}/${key}`
    const parcel: Parcel = { message, signal, deadline, done, bytes: message.body.byteLength, lane, failed: undefined }
    this.#queue.push(signal ? abortable(parcel, signal) : parcel)
    this.#schedule()
  }

  /**
   * At the end of this tick. While half of the window is under way, what is confirmed and published drop by drop would make
   * a batch, and a write, of each few messages: these wait a moment, until they are a quarter of the window.
   */
  #schedule(): void {
    if (this.#scheduled === 'now' || (this.#isFull() && this.#turns.length === 0)) return
    const waiting = this.#queue.length - this.#head + this.#turns.length
    if (this.#unconfirmed < this.#window / 2 || waiting >= this.#window / 4) {
      if (this.#scheduled === 'soon') clearTimeout(this.#timer)
      this.#scheduled = 'now'
      setImmediate(this.#flush)
    } else if (this.#scheduled === undefined) {
      this.#scheduled = 'soon'
      this.#timer = setTimeout(this.#flush, companyMs)
    }
  }

  #flush = (): void => {
    this.#scheduled = undefined
    const together: Batch = { parcels: [], bytes: 0 }
    const apart = new Map<string, Batch>()
    for (const parcel of this.#turns.splice(0)) this.#add(parcel, together, apart)
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
      if (parcel.bytes !== parcel.message.body.byteLength) {
        parcel.done({ ok: false, error: new BusError('invalid_message', 'the body was transferred elsewhere before it was sent') })
        continue
      }
      this.#unconfirmed++
      this.#unconfirmedBytes += parcel.bytes
      if (!this.#mustWait(parcel)) this.#add(parcel, together, apart)
    }
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
    } else if (this.#head > 4096) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    if (together.parcels.length > 0) void this.#send(together.parcels)
    for (const { parcels } of apart.values()) if (parcels.length > 0) void this.#send(parcels)
    this.#tellIdle() // all that was left may have been aborted
  }

  #add(parcel: Parcel, together: Batch, apart: Map<string, Batch>): void {
    const { storage } = parcel.message
    let batch: Batch | undefined = together
    if (!this.#taking.has(storage)) {
      batch = apart.get(storage)
      if (!batch) apart.set(storage, (batch = { parcels: [], bytes: 0 }))
    }
    batch.parcels.push(parcel)
    batch.bytes += parcel.bytes
    if (batch.parcels.length >= batchMost || batch.bytes >= batchBytes) {
      void this.#send(batch.parcels)
      batch.parcels = []
      batch.bytes = 0
    }
  }

  #isFull(): boolean {
    return this.#unconfirmed >= this.#window || this.#unconfirmedBytes >= windowBytes
  }

  /** Whether an earlier message of the key is unconfirmed on an engine that might let this one pass it. */
  #mustWait(parcel: Parcel): boolean {
    const { orderedPipelining } = this.#sink.capabilities
    const { lane } = parcel
    if (lane === undefined || (orderedPipelining && this.#repairs.size === 0)) return false
    if (orderedPipelining) {
      const repair = this.#repairs.get(lane)
      repair?.later.push(parcel)
      return repair !== undefined
    }
    const waiting = this.#keys.get(lane)
    if (waiting) waiting.push(parcel)
    else this.#keys.set(lane, [])
    return waiting !== undefined
  }

  async #send(batch: readonly Parcel[]): Promise<void> {
    let left = batch
    for (let waitMs = firstRetryMs; left.length > 0; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      const again = await this.#try(left, waitMs)
      left = this.#sink.capabilities.orderedPipelining ? again.filter((parcel) => !this.#repair(parcel)) : again
      if (left.length > 0) await pause(waitMs)
    }
  }

  /** Returns what has to go again; all else is confirmed. */
  async #try(batch: readonly Parcel[], waitMs: number): Promise<readonly Parcel[]> {
    const sentAt = performance.now()
    const first = this.#tries
    this.#tries += batch.length
    let outcomes: readonly PublishOutcome[]
    /** Confirmed before the rest of the batch was known. */
    const early = new Uint8Array(batch.length)
    let over = false
    const stored = (i: number, outcome: Confirmed): void => {
      // A second word on a message counts for nothing, nor does one that comes when the engine has given up on the batch.
      if (over || early[i] === 1) return
      early[i] = 1
      this.#confirm(batch[i]!, outcome)
    }
    this.#flying.add(batch)
    try {
      outcomes = await this.#sink.publish(
        batch.map((parcel) => parcel.message),
        undefined,
        stored,
      )
    } catch (thrown) {
      const error = toBusError(thrown, 'publish_unknown')
      outcomes = batch.map(() => ({ ok: false, error }))
    }
    over = true
    this.#flying.delete(batch)
    const again: Parcel[] = []
    for (let i = 0; i < batch.length; i++) {
      const parcel = batch[i]!
      const outcome = outcomes[i]!
      if (early[i] === 1) continue
      if (outcome.ok) {
        this.#confirm(parcel, outcome)
        continue
      }
      const { code } = outcome.error
      parcel.failed ??= { sentAt, place: first + i, said: outcome, doubtful: false }
      parcel.failed.said = outcome
      parcel.failed.doubtful ||= code === 'publish_unknown'
      const passes = code === 'engine_unavailable' || code === 'publish_unknown'
      if (passes) this.#taking.delete(parcel.message.storage)
      if (passes && this.#hasTime(parcel, waitMs)) again.push(parcel)
      else this.#confirm(parcel, outcome)
    }
    return again
  }

  #hasTime({ failed, deadline, signal }: Parcel, waitMs: number): boolean {
    // What may be stored is sent again only while the engine stores the same id once.
    const forMs = failed?.doubtful ? this.#sink.capabilities.dedupeWindowMs - (performance.now() - failed.sentAt) : Number.POSITIVE_INFINITY
    return waitMs < forMs && Date.now() + waitMs < deadline && !signal?.aborted
  }

  // ── what failed, on an engine that pipelines ──────────────────────────────────────────────────────────────────────

  /**
   * Whether it is seen to here: it has a key. What is sent again is behind everything that was sent since. So what failed of a key goes in its order, one by one, once
   * nothing of the key is under way any more, and what is handed in meanwhile after all of it.
   */
  #repair(parcel: Parcel): boolean {
    const { lane } = parcel
    if (lane === undefined) return false
    const repair = this.#repairs.get(lane)
    if (repair) {
      const behind = repair.line.findIndex(({ failed }) => failed!.place > parcel.failed!.place)
      repair.line.splice(behind < 0 ? repair.line.length : behind, 0, parcel)
    } else {
      const begun: Repair = { line: [parcel], later: [] }
      this.#repairs.set(lane, begun)
      void this.#mend(lane, begun)
    }
    return true
  }

  async #mend(lane: string, { line, later }: Repair): Promise<void> {
    for (let waitMs = firstRetryMs; line.length > 0; ) {
      await pause(waitMs)
      const late = line.findIndex((parcel) => !this.#hasTime(parcel, 0))
      if (late >= 0) {
        const [parcel] = line.splice(late, 1)
        this.#confirm(parcel!, parcel!.failed!.said)
        waitMs = 0
      } else if (this.#isOut(line[0]!)) {
        // One that is still out may be earlier than all of these, and fail too.
        waitMs = firstRetryMs
      } else {
        const [again] = await this.#try([line.shift()!], waitMs)
        if (again) line.unshift(again)
        waitMs = again ? Math.min(lastRetryMs, Math.max(firstRetryMs, waitMs * 2)) : 0
      }
    }
    this.#repairs.delete(lane)
    if (later.length > 0) void this.#send(later)
  }

  /** Whether something of its key is under way. */
  #isOut({ lane }: Parcel): boolean {
    for (const batch of this.#flying) for (const other of batch) if (other.lane === lane) return true
    return false
  }

  #confirm(parcel: Parcel, said: PublishOutcome): void {
    this.#unconfirmed--
    this.#unconfirmedBytes -= parcel.bytes
    const { lane } = parcel
    if (lane !== undefined && !this.#sink.capabilities.orderedPipelining) {
      const next = this.#keys.get(lane)?.shift()
      if (!next) this.#keys.delete(lane)
      else {
        this.#turns.push(next)
        this.#schedule()
      }
    }
    if (said.ok) {
      this.#taking.add(parcel.message.storage)
      this.#events?.published(parcel.message.storage, 1)
    }
    parcel.done(parcel.failed?.doubtful ? unknown(said) : said)
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

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

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
