import { BusError } from '../../errors.ts'
import { addressText } from '../address.ts'
import type { EngineHealth } from '../engine.ts'
import { Lookup, type Producer } from './lookup.ts'
import { Nsqd } from './nsqd.ts'
import type { NsqOptions } from './options.ts'
import type { NsqTarget } from './url.ts'

const defaultLookupMs = 5000

/** The nsqds that there are: those of the address, or those that nsqlookupd knows, looked up again and again. */
export class Cluster {
  readonly lookup: Lookup | undefined
  readonly options: NsqOptions
  readonly #nodes = new Map<string, Nsqd>()
  readonly #healthListeners = new Set<(health: EngineHealth) => void>()
  #health: EngineHealth = { ok: false, detail: 'not connected yet' }
  #lookupTrouble: BusError | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** @throws BusError when no nsqd can be reached: what the first of them, or nsqlookupd, answered */
  static async open(target: NsqTarget, options: NsqOptions): Promise<Cluster> {
    const cluster = new Cluster(target, options)
    try {
      if (cluster.lookup) {
        if (options.http)
          throw new BusError('invalid_argument', 'nsq.http is for nsq://; with nsq+lookup:// nsqlookupd tells the HTTP side of each nsqd')
        cluster.#add(await cluster.lookup.nodes())
      } else {
        const http = options.http ?? []
        if (http.length > 0 && http.length !== target.addresses.length)
          throw new BusError(
            'invalid_argument',
            `nsq.http has ${http.length} addresses for ${target.addresses.length} nsqds; give one for each, in their order`,
          )
        cluster.#add(target.addresses.map((address, i) => ({ address, http: http[i] })))
      }
      await cluster.#firstConnects()
      cluster.#poll()
      return cluster
    } catch (error) {
      await cluster.close()
      throw error
    }
  }

  private constructor(target: NsqTarget, options: NsqOptions) {
    this.options = options
    this.lookup = target.kind === 'lookupd' ? new Lookup(target.addresses, options) : undefined
  }

  get nodes(): Nsqd[] {
    return [...this.#nodes.values()]
  }

  get connected(): Nsqd[] {
    return this.nodes.filter((nsqd) => nsqd.connection !== undefined)
  }

  /** Those whose HTTP side can be expected to answer: one that is away holds what it holds, and nobody can ask it. */
  get askable(): Nsqd[] {
    const { connected } = this
    return connected.length > 0 ? connected : this.nodes
  }

  get health(): EngineHealth {
    return this.#health
  }

  find(name: string): Nsqd | undefined {
    return this.#nodes.get(name)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    this.#healthListeners.add(listener)
    // Some may have been away from the beginning.
    if (this.connected.length < this.#nodes.size) queueMicrotask(() => this.#healthListeners.has(listener) && listener(this.#look()))
    return () => this.#healthListeners.delete(listener)
  }

  /** Those that a reader of the topic has to read. */
  async nodesOf(topic: string): Promise<Nsqd[]> {
    if (!this.lookup) return this.nodes
    return this.#add(await this.lookup.producersOf(topic))
  }

  async #firstConnects(): Promise<void> {
    const attempts = this.nodes.map(({ first }) => first)
    if (attempts.length === 0)
      throw new BusError('engine_unavailable', 'nsqlookupd knows no nsqd; is one started with --lookupd-tcp-address?')
    await Promise.allSettled(attempts)
    if (this.connected.length > 0) return
    throw (
      this.nodes.find(({ trouble }) => trouble !== undefined && !trouble.retryable)?.trouble ??
      this.nodes[0]!.trouble ??
      new BusError('engine_unavailable', 'no nsqd can be reached')
    )
  }

  #poll(): void {
    const { lookup } = this
    if (!lookup) return
    this.#timer = setTimeout(
      async () => {
        try {
          const found = this.#add(await lookup.nodes())
          this.#lookupTrouble = undefined
          for (const [name, nsqd] of this.#nodes)
            if (!found.includes(nsqd) && nsqd.connection === undefined) {
              this.#nodes.delete(name)
              void nsqd.stop()
            }
        } catch (error) {
          this.#lookupTrouble = error as BusError
        }
        this.#tell()
        if (!this.#closed) this.#poll()
      },
      (this.options.lookupIntervalMs ?? defaultLookupMs) * (0.8 + Math.random() * 0.4),
    )
    this.#timer.unref()
  }

  /** @throws BusError `closed`: what is looked up meanwhile would be connected to, and let go by nobody */
  #add(found: readonly (Omit<Producer, 'http'> & { readonly http: string | undefined })[]): Nsqd[] {
    if (this.#closed) throw new BusError('closed', 'the engine is closed')
    return found.map(({ address, http }) => {
      const name = addressText(address)
      let nsqd = this.#nodes.get(name)
      if (!nsqd) {
        nsqd = new Nsqd(address, http, this.options, this.#tell)
        this.#nodes.set(name, nsqd)
      }
      return nsqd
    })
  }

  #tell = (): void => {
    if (this.#closed) return
    const health = this.#look()
    if (health.ok === this.#health.ok && health.detail === this.#health.detail) return
    this.#health = health
    for (const listener of this.#healthListeners) listener(health)
  }

  #look(): EngineHealth {
    const away = this.nodes.filter((nsqd) => nsqd.connection === undefined)
    const there = this.connected.map(({ name }) => name)
    const troubles = [...away.map(({ name, trouble }) => `${name} is away${trouble ? ` (${trouble.message})` : ''}`)]
    if (this.#lookupTrouble) troubles.push(this.#lookupTrouble.message)
    const detail = [`connected to ${there.length > 0 ? there.join(', ') : 'no nsqd'}`, ...troubles].join('; ')
    return { ok: there.length > 0, detail }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await Promise.allSettled(this.nodes.map((nsqd) => nsqd.stop()))
  }
}
