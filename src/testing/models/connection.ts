import type { EngineHealth, Outgoing, PublishOutcome } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'

/** Stores one message, or says why not. */
export type Store = (message: Outgoing) => PublishOutcome

interface Flight {
  readonly batch: readonly Outgoing[]
  readonly resolve: (outcomes: PublishOutcome[]) => void
}

/** What one engine has of its broker: a way to publish, and the knowledge whether it is there. */
export class Connection {
  #state: 'open' | 'cut' | 'ended' = 'open'
  #flights: Flight[] = []
  #listeners = new Set<(health: EngineHealth) => void>()
  #idle: (() => void)[] = []
  // Keeps the process running as a socket would; the timers of the broker do not, for they are not of this process.
  readonly #socket = setInterval(() => {}, 2 ** 30)
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  get ended(): boolean {
    return this.#state === 'ended'
  }

  /** @throws BusError `closed`, `engine_unavailable` */
  check(): void {
    if (this.#state === 'ended') throw new BusError('closed', 'the engine is closed')
    if (this.#state === 'cut') throw new BusError('engine_unavailable', 'the broker is not reachable; try again')
  }

  async publish(batch: readonly Outgoing[], signal: AbortSignal | undefined): Promise<PublishOutcome[]> {
    this.check()
    if (signal?.aborted)
      return batch.map(() => ({ ok: false, error: new BusError('aborted', 'aborted before it was sent', { cause: signal.reason }) }))
    return new Promise((resolve) => {
      if (this.#flights.push({ batch, resolve }) === 1) setImmediate(this.#land)
    })
  }

  /** Resolves once no publish is on its way. */
  idle(): Promise<void> {
    return this.#flights.length === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }

  /** The broker's answers are lost, and the second half of what was on its way. */
  cut(detail: string): void {
    if (this.#state !== 'open') return
    this.#state = 'cut'
    this.#loseFlights()
    for (const listener of this.#listeners) listener({ ok: false, detail })
  }

  heal(): void {
    if (this.#state !== 'cut') return
    this.#state = 'open'
    for (const listener of this.#listeners) listener({ ok: true, detail: 'connected' })
  }

  end(): void {
    this.#state = 'ended'
    clearInterval(this.#socket)
    this.#loseFlights()
    this.#listeners.clear()
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #land = (): void => {
    for (const { batch, resolve } of this.#flights.splice(0)) resolve(batch.map(this.#store))
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  // A connection carries messages in order: what was behind the place where it broke has not arrived.
  #loseFlights(): void {
    const flights = this.#flights.splice(0)
    let arrived = Math.ceil(flights.reduce((sum, { batch }) => sum + batch.length, 0) / 2)
    for (const { batch, resolve } of flights) {
      resolve(
        batch.map((message) => {
          if (arrived-- > 0) this.#store(message)
          return { ok: false, error: new BusError('publish_unknown', 'the connection broke before the broker answered') }
        }),
      )
    }
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** What a member may still deliver. A message that does not fit into the bytes left waits for more. */
export class Credit {
  messages = 0
  bytes = 0

  add(messages: number, bytes: number): void {
    this.messages += messages
    this.bytes += bytes
  }

  /** Whether there was enough for it; if so it is spent. */
  take(bytes: number): boolean {
    if (this.messages < 1 || this.bytes < bytes) return false
    this.messages--
    this.bytes -= bytes
    return true
  }
}

/** Storage names as they appear, for `watchTopics`. */
export class TopicWatch {
  readonly #listeners = new Set<(storage: string) => void>()

  appeared(storage: string): void {
    for (const listener of this.#listeners) queueMicrotask(() => this.#listeners.has(listener) && listener(storage))
  }

  watch(existing: Iterable<string>, listener: (storage: string) => void): () => void {
    const own = (storage: string): void => listener(storage) // the same function may be handed in twice
    this.#listeners.add(own)
    for (const storage of [...existing]) queueMicrotask(() => this.#listeners.has(own) && own(storage))
    return () => this.#listeners.delete(own)
  }
}
