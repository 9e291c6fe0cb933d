import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { Backoff } from './backoff.ts'
import { Connection } from './connection.ts'
import type { Nsqd } from './nsqd.ts'
import type { NsqOptions } from './options.ts'
import { cls, rdy, sub, type WireMessage } from './protocol.ts'

/** nsqd takes no shorter one. */
const leastTimeoutMs = 1000
const defaultMaxTimeoutMs = 15 * 60_000

const quietMs = 1000

/** A message that comes so soon after nsqd was allowed it had been waiting, ms; or three times the way there and back. */
const soonMs = 2
/** So many in a row that each were all that nsqd was allowed are a stream too: a busy process sees none come soon. */
const streamLength = 16
/** After so long without any the next one is alone, ms. */
const aloneMs = 10
/** After so long without any there is no stream. */
const idleMs = 50

/** One connection that reads one channel of one nsqd. */
export class Session {
  readonly nsqd: string
  readonly connection: Connection
  /** How long a message is ours without a word of it. */
  readonly msgTimeoutMs: number
  /** How long it can be at all. */
  readonly maxMsgTimeoutMs: number
  /** Messages of it in hand: nsqd counts the same. */
  inFlight = 0
  /**
   * The most that nsqd may send ahead. What nsqd sends it keeps for up to 25 ms, to send more along with it, unless that was
   * all that it may send. So a single message is all, and comes at once; where more wait the window doubles.
   */
  window = 1
  #messageAt = 0
  #streak = 0
  /** Messages since the last that came alone or first. */
  #together = 0
  readonly #soonMs: number
  /** As nsqd was told last. */
  #rdy = 0

  constructor(nsqd: string, connection: Connection) {
    this.#soonMs = Math.max(soonMs, connection.roundTripMs * 3)
    this.nsqd = nsqd
    this.connection = connection
    this.msgTimeoutMs = connection.info.msg_timeout
    this.maxMsgTimeoutMs = connection.info.max_msg_timeout
  }

  get open(): boolean {
    return this.connection.open
  }

  /** A message came that is not counted yet. */
  came(now: number): void {
    const gap = now - this.#messageAt
    this.#messageAt = now
    const alone = gap > aloneMs && this.#together <= 1
    this.#together = gap > aloneMs ? 1 : this.#together + 1
    if (this.spare > 1) {
      this.#streak = 0
      if (alone) this.window = 1
      return
    }
    this.#streak = gap > idleMs ? 0 : this.#streak + 1
    if (gap < this.#soonMs || this.#streak >= streamLength) this.window = Math.min(this.window * 2, this.connection.info.max_rdy_count)
  }

  /** True when the stream has ended. */
  calmed(now: number): boolean {
    if (this.window === 1 || now - this.#messageAt < idleMs) return false
    this.window = 1
    return true
  }

  /** How many more nsqd may send. */
  get spare(): number {
    return this.#rdy - this.inFlight
  }

  allow(more: number): void {
    const count = Math.max(0, Math.min(this.inFlight + more, this.connection.info.max_rdy_count))
    if (count === this.#rdy) return
    this.#rdy = count
    this.connection.send(rdy(count))
  }

  /** Resolves once nsqd sends nothing any more, or does not answer for {@link quietMs}: what comes all the same is given back. */
  async quiet(): Promise<void> {
    const waited = new AbortController()
    const answered = this.connection.ask([cls], `nsqd ${this.nsqd}`)
    await Promise.race([answered, sleep(quietMs, undefined, { signal: waited.signal })]).catch(() => {})
    waited.abort()
  }
}

export interface FeedHandlers {
  joined(session: Session): void
  left(session: Session): void
  message(session: Session, message: WireMessage): void
  refused(session: Session, id: string): void
}

/** Reads one channel of one nsqd, through one connection after the other, until it is stopped. */
export class Feed {
  readonly nsqd: Nsqd
  readonly #topic: string
  readonly #channel: string
  readonly #leaseMs: number
  readonly #options: NsqOptions
  readonly #handlers: FeedHandlers
  readonly #stop = new AbortController()
  readonly #first = Promise.withResolvers<void>()
  readonly #running: Promise<void>
  session: Session | undefined

  constructor(nsqd: Nsqd, topic: string, channel: string, leaseMs: number, options: NsqOptions, handlers: FeedHandlers) {
    this.nsqd = nsqd
    this.#topic = topic
    this.#channel = channel
    this.#leaseMs = leaseMs
    this.#options = options
    this.#handlers = handlers
    this.#first.promise.catch(() => {})
    this.#running = this.#run()
  }

  /** The outcome of the first attempt; others follow whatever it is. */
  get first(): Promise<void> {
    return this.#first.promise
  }

  async #run(): Promise<void> {
    const backoff = new Backoff(this.#options)
    while (!this.#stop.signal.aborted) {
      try {
        await this.#read()
        backoff.reset()
      } catch (error) {
        this.#first.reject(toBusError(error, 'engine_unavailable'))
      }
      if (!this.#stop.signal.aborted) await sleep(backoff.next(), undefined, { signal: this.#stop.signal }).catch(() => {})
    }
    this.#first.reject(new BusError('closed', 'the subscription is closed'))
  }

  /** From a connection's beginning to its end. */
  async #read(): Promise<void> {
    const most = this.nsqd.info?.max_msg_timeout ?? defaultMaxTimeoutMs
    const msgTimeoutMs = Math.min(most, Math.max(leastTimeoutMs, Math.ceil(this.#leaseMs)))
    const connection = await Connection.open({
      address: this.nsqd.address,
      options: this.#options,
      msgTimeoutMs,
      first: { command: sub(this.#topic, this.#channel), what: `channel '${this.#channel}' of topic '${this.#topic}'` },
      signal: this.#stop.signal,
    })
    if (this.#stop.signal.aborted) {
      await connection.end()
      return
    }
    const session = new Session(this.nsqd.name, connection)
    await new Promise<void>((resolve) => {
      connection.handle({
        message: (message) => this.#handlers.message(session, message),
        refused: (id) => this.#handlers.refused(session, id),
        closed: () => resolve(),
      })
      this.session = session
      this.#first.resolve()
      if (connection.open) this.#handlers.joined(session)
    })
    this.session = undefined
    this.#handlers.left(session)
  }

  /** Resolves once nsqd knows nothing of us any more. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.session?.connection.end()
    await this.#running
  }
}
