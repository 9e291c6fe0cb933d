import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { Backoff } from '../backoff.ts'
import { Connection } from './connection.ts'
import type { Nsqd } from './nsqd.ts'
import type { NsqOptions } from './options.ts'
import { sub, type WireMessage } from './protocol.ts'
import { Session } from './session.ts'

/** nsqd takes no shorter one. */
const leastTimeoutMs = 1000
const defaultMaxTimeoutMs = 15 * 60_000

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
  /** Why there was no connection at the last attempt. */
  #failure: BusError | undefined

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

  /** Why nothing comes, while nsqd is there: of one that is away health tells. */
  get trouble(): string | undefined {
    return this.nsqd.connection && this.#failure?.message
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
        this.#failure = toBusError(error, 'engine_unavailable')
        this.#first.reject(this.#failure)
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
    // Asked once it is connected to: the life that is told of is this one, or the connection ends with it.
    const bornNs = await this.nsqd.bornNs()
    if (this.#stop.signal.aborted) {
      await connection.end()
      return
    }
    const session = new Session(this.nsqd.name, connection, bornNs)
    await new Promise<void>((resolve) => {
      connection.handle({
        message: (message) => this.#handlers.message(session, message),
        refused: (id) => this.#handlers.refused(session, id),
        closed: () => resolve(),
      })
      this.session = session
      this.#failure = undefined
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
