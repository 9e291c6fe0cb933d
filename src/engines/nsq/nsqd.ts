import { setTimeout as sleep } from 'node:timers/promises'
import { BusError, toBusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { Backoff } from '../backoff.ts'
import { Connection, type Negotiated } from './connection.ts'
import { askHttp, baseOf } from './http.ts'
import type { NsqOptions } from './options.ts'

/** What is asked so has a default: nobody waits long for it. */
const askedTimeoutMs = 1000

/** Its clock and ours are not further apart than that. */
const clockDifferenceMs = 5000

/** Settings of an nsqd that its HTTP side tells. */
export interface Limits {
  readonly maxMessageBytes: number | undefined
  readonly maxDelayMs: number | undefined
  readonly maxBodyBytes: number | undefined
}

/** One nsqd: a connection to publish through, which also tells whether it is there, made again and again when it ends. */
export class Nsqd {
  readonly address: Address
  readonly name: string
  readonly http: string
  /** What it told at the last connect. */
  info: Negotiated | undefined
  /** Why it is not there. */
  trouble: BusError | undefined
  readonly #options: NsqOptions
  readonly #changed: (nsqd: Nsqd) => void
  #connection: Connection | undefined
  readonly #stop = new AbortController()
  #first: Promise<void>
  #running: Promise<void>

  constructor(address: Address, http: string | undefined, options: NsqOptions, changed: (nsqd: Nsqd) => void) {
    this.address = address
    this.name = addressText(address)
    this.http = baseOf(http ?? addressText({ host: address.host, port: address.port + 1 }))
    this.#options = options
    this.#changed = changed
    const first = Promise.withResolvers<void>()
    this.#first = first.promise
    this.#first.catch(() => {})
    this.#running = this.#run(first.resolve, first.reject)
  }

  /** The outcome of the first attempt; others follow whatever it is. */
  get first(): Promise<void> {
    return this.#first
  }

  get connection(): Connection | undefined {
    return this.#connection?.open ? this.#connection : undefined
  }

  async #run(resolve: () => void, reject: (error: BusError) => void): Promise<void> {
    const backoff = new Backoff(this.#options)
    while (!this.#stop.signal.aborted) {
      try {
        const connection = await Connection.open({ address: this.address, options: this.#options, signal: this.#stop.signal })
        if (this.#stop.signal.aborted) {
          await connection.end()
          return
        }
        this.#connection = connection
        this.info = connection.info
        this.trouble = undefined
        backoff.reset()
        resolve()
        this.#changed(this)
        this.trouble = await new Promise<BusError>((closed) => connection.handle({ closed }))
      } catch (error) {
        this.trouble = toBusError(error, 'engine_unavailable')
        reject(this.trouble)
      }
      if (this.#stop.signal.aborted) return
      this.#changed(this)
      await sleep(backoff.next(), undefined, { signal: this.#stop.signal }).catch(() => {})
    }
  }

  /** Best effort: undefined where its HTTP side cannot be asked. */
  async limits(): Promise<Limits> {
    const setting = async (name: string): Promise<number | undefined> => {
      const value = await askHttp(this.http, 'GET', `/config/${name}`, this.#options.tls, askedTimeoutMs).catch(() => undefined)
      return typeof value === 'number' ? value : undefined
    }
    const [maxMessageBytes, maxBodyBytes, delayNs] = await Promise.all(['max_msg_size', 'max_body_size', 'max_req_timeout'].map(setting))
    return { maxMessageBytes, maxBodyBytes, maxDelayMs: delayNs === undefined ? undefined : Math.floor(delayNs / 1e6) }
  }

  /**
   * Before that, ns by nsqd's clock, a message was stored by an earlier life of this nsqd, which may have been killed: then it
   * counts its attempts from one again. Where nsqd cannot be asked for it, a moment that comes after it.
   */
  async bornNs(): Promise<bigint> {
    const info = await askHttp(this.http, 'GET', '/info', this.#options.tls, askedTimeoutMs).catch(() => undefined)
    const seconds = (info as { start_time?: unknown } | undefined)?.start_time
    // It is told in whole seconds.
    if (typeof seconds === 'number') return BigInt(seconds + 1) * 1_000_000_000n
    return BigInt(Date.now() + clockDifferenceMs) * 1_000_000n
  }

  ask(method: 'GET' | 'POST', path: string): Promise<unknown> {
    return askHttp(this.http, method, path, this.#options.tls).catch((error: BusError) => {
      if (!/cannot be reached/.test(error.message)) throw error
      const advice = 'is the HTTP side of nsqd elsewhere? nsq.http says where, nsqlookupd its --broadcast-http-port'
      throw new BusError(error.code, `${error.message}; ${advice}`, { cause: error })
    })
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#connection?.end()
    await this.#running
  }
}
