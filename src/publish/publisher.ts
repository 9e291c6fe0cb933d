import type { Engine, Outgoing, PublishOutcome } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import { Blobs } from '../ledger/blobs.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { toMs } from '../message/duration.ts'
import type { Events } from '../observe/events.ts'
import type { AnyDefinition } from '../topic/definition.ts'
import { type PublishTopic, resolveTarget, type Target } from '../topic/resolve.ts'
import { checkIn, refuseTooLarge, sweepBlobs } from './claim-check.ts'
import { encode, type PublishOptions, seal } from './encode.ts'
import { Outbox, type Parcel, type Sink } from './outbox.ts'
import { readyInTime } from './ready-in-time.ts'
import { Scheduler } from './scheduler.ts'

/** Called once, whatever becomes of the message. */
export type Done = (id: string, target: Target, outcome: PublishOutcome) => void

const settled = Promise.resolve()
const sweepEveryMs = 10 * 60_000
const anyDelayMs = 365 * 24 * 3600_000

/** From a body to the way out: what is ready goes into the outbox at once; what needs a moment does so in its turn. */
export class Publisher {
  readonly #engine: Engine
  readonly #blobs: Blobs
  readonly #claimCheck: boolean
  readonly #outbox: Outbox
  readonly #later: Outbox
  readonly #unstored: Outbox | undefined
  readonly #scheduler: Scheduler
  readonly #declared = new WeakMap<AnyDefinition, Promise<void>>()
  /** By storage: the last message that is still being made ready. */
  readonly #preparing = new Map<string, Promise<void>>()
  readonly #sweeping: NodeJS.Timeout | undefined
  #closed = false

  constructor(engine: Engine, ledger: Ledger, window: number, claimCheck: boolean, events: Events) {
    this.#engine = engine
    this.#blobs = new Blobs(ledger)
    this.#claimCheck = claimCheck
    this.#outbox = new Outbox(engine, window, events)
    const unstored = unstoredSink(engine)
    this.#unstored = unstored && new Outbox(unstored, window, events)
    this.#scheduler = new Scheduler(this.#outbox, ledger, events)
    this.#later = new Outbox(this.#scheduler, window, undefined)
    // Also what a process that is gone took in: where the engine keeps any delay there is nothing of the kind.
    if (engine.capabilities.delayMaxMs < anyDelayMs && engine.capabilities.ledger !== 'none') this.#scheduler.start()
    if (claimCheck) this.#sweeping = setInterval(() => this.#sweep(events), sweepEveryMs).unref()
  }

  /** Messages handed in and not yet confirmed. */
  get pending(): number {
    return this.#outbox.pending + this.#later.pending + (this.#unstored?.pending ?? 0)
  }

  /** Nothing is thrown: a refusal is an outcome. */
  send(topic: PublishTopic, body: unknown, options: PublishOptions, done: Done): void {
    const now = Date.now()
    let target: Target = { name: typeof topic === 'string' ? topic : '', storage: '', definition: undefined }
    try {
      if (this.#closed) throw new BusError('closed', 'the bus is closed; connect again to publish')
      target = resolveTarget(topic)
      const parcel = { signal: options.signal, deadline: now + toMs(options.timeout ?? 30_000, 'timeout') }
      const message = encode(target, body, options, now)
      if (!(options.persist ?? target.definition?.persist ?? true)) {
        this.#hand(message, parcel, target, done)
        return
      }
      const declared = this.#declare(target.definition)
      if (message instanceof Promise || declared || message.deliverAt !== undefined || this.#preparing.has(target.storage)) {
        this.#inTurn(target.storage, this.#prepare(message, declared), parcel, options.id, target, done)
        return
      }
      const sealed = seal(message, this.#engine.capabilities)
      if (sealed.body.byteLength > this.#maxBytes(message))
        this.#inTurn(target.storage, this.#prepare(message, undefined), parcel, message.id, target, done)
      else this.#outbox.push(sealed, parcel, (outcome) => done(sealed.id, target, outcome))
    } catch (thrown) {
      done(options.id ?? '', target, { ok: false, error: toBusError(thrown) })
    }
  }

  /** To whoever listens. @throws BusError `unsupported`, `message_too_large` */
  #hand(message: Outgoing | Promise<Outgoing>, parcel: Pick<Parcel, 'signal' | 'deadline'>, target: Target, done: Done): void {
    const { capabilities, name } = this.#engine
    const out = this.#unstored
    if (!out) throw new BusError('unsupported', `the ${name} engine stores all that is published; leave out persist: false`)
    const send = (ready: Outgoing): void => {
      if (ready.deliverAt !== undefined)
        throw new BusError('invalid_argument', 'what is not stored cannot wait: leave out delay, or persist: false')
      const sealed = seal(ready, capabilities)
      if (sealed.body.byteLength > this.#maxBytes(ready)) refuseTooLarge(ready, sealed.body.byteLength, this.#maxBytes(ready))
      out.push(sealed, parcel, (outcome) => done(sealed.id, target, outcome))
    }
    if (message instanceof Promise)
      readyInTime(message, parcel, target.name)
        .then(send)
        .catch((thrown) => done('', target, { ok: false, error: toBusError(thrown) }))
    else send(message)
  }

  /**
   * What takes a while to get ready (an asynchronous schema, a body stored aside) is not passed by what was published after
   * it. None waits longer than its own time: a schema that never answers holds up nobody for ever.
   */
  #inTurn(
    storage: string,
    preparing: Promise<Outgoing>,
    parcel: Pick<Parcel, 'signal' | 'deadline'>,
    id: string | undefined,
    target: Target,
    done: Done,
  ): void {
    const before = this.#preparing.get(storage) ?? settled
    preparing.catch(() => {}) // it may fail long before its turn, or after its time
    const sent = readyInTime(
      before.then(() => preparing),
      parcel,
      target.name,
    ).then(
      (message) => this.#dispatch(message, parcel, (outcome) => done(message.id, target, outcome)),
      (thrown) => done(id ?? '', target, { ok: false, error: toBusError(thrown) }),
    )
    // One that gave up while it waited lets none of those behind it pass those before it.
    const turn: Promise<void> = Promise.all([before, sent]).then(() => {
      if (this.#preparing.get(storage) === turn) this.#preparing.delete(storage)
    })
    this.#preparing.set(storage, turn)
  }

  async #prepare(pending: Outgoing | Promise<Outgoing>, declared: Promise<void> | undefined): Promise<Outgoing> {
    const message = await pending
    await declared
    const { capabilities } = this.#engine
    const sealed = seal(message, capabilities)
    const bytes = sealed.body.byteLength
    const most = this.#maxBytes(message)
    if (bytes <= most) return sealed
    if (!this.#claimCheck) refuseTooLarge(message, bytes, most)
    return seal(await checkIn(message, this.#blobs), capabilities)
  }

  #maxBytes({ storage }: Outgoing): number {
    return this.#engine.maxBytesOf?.(storage) ?? this.#engine.capabilities.maxMessageBytes
  }

  /** To the engine, or to the ledger where the engine cannot wait so long: the ledger's word is the confirmation then. */
  #dispatch(message: Outgoing, parcel: Pick<Parcel, 'signal' | 'deadline'>, done: Parcel['done']): void {
    const { deliverAt, at } = message
    const out = deliverAt === undefined || deliverAt - at <= this.#engine.capabilities.delayMaxMs ? this.#outbox : this.#later
    out.push(message, parcel, done)
  }

  /** A definition's retention is told to the engine once; nothing to wait for without one. */
  #declare(definition: AnyDefinition | undefined): Promise<void> | undefined {
    if (!definition || (definition.retention === undefined && definition.parameters.length === 0)) return undefined
    const known = this.#declared.get(definition)
    if (known) return known === settled ? undefined : known
    const declaring = this.#engine.admin.declare(definition.storage, definition.retention)
    this.#declared.set(definition, declaring)
    declaring.then(
      () => this.#declared.set(definition, settled),
      () => this.#declared.delete(definition),
    )
    return declaring
  }

  #sweep(events: Events): void {
    sweepBlobs(this.#engine, this.#blobs, Date.now()).catch((error) =>
      events.warn('bodies that were stored aside could not be swept; trying again later', error),
    )
  }

  /** Resolves once everything handed in is confirmed or refused; nothing more is taken. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#sweeping)
    await Promise.all(this.#preparing.values())
    await Promise.all([this.#outbox.drain(), this.#later.drain(), this.#unstored?.drain()])
    await this.#scheduler.close() // what it sends goes through the outbox
  }
}

/** What is not stored has no second chance: sent again it would come twice. */
function unstoredSink({ live }: Engine): Sink | undefined {
  const publish = live?.publish?.bind(live)
  return publish && { capabilities: { orderedPipelining: true, dedupeWindowMs: 0 }, publish }
}
