import { setTimeout as sleep } from 'node:timers/promises'
import { errors, type NatsConnection } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import type { EngineHealth } from '../engine.ts'
import { dialFirst, type Target } from './dial.ts'
import { refusesCredentials } from './failure.ts'
import { Frames } from './frames.ts'
import { parseQuickly } from './parser.ts'

const closeWaitMs = 2000

/** What the parts of the engine are told of their connection. */
export interface ConnectionListener {
  /** Whatever was under way may be lost. */
  lost?(): void
  back?(): void
  /** The server refused one thing that this user may not do. */
  denied?(error: InstanceType<typeof errors.PermissionViolationError>): void
}

/** Room for the headers of ours in the server's limit of a message. */
const headerRoom = 4096

/** The largest body that this server takes. */
export function maxBytes({ nc }: Connection): number {
  return (nc.info?.max_payload ?? 1024 * 1024) - headerRoom
}

/** One connection to one cluster: follows its state, and says so. */
export class Connection {
  readonly nc: NatsConnection
  /** Where much is sent at once. */
  readonly frames: Frames
  readonly #target: Target
  readonly #onEnd: () => void
  #health: EngineHealth
  #connected = true
  #ended = false
  #closing = false
  readonly #healthListeners = new Set<(health: EngineHealth) => void>()
  readonly #listeners = new Set<ConnectionListener>()

  private constructor(nc: NatsConnection, target: Target, onEnd: () => void) {
    this.nc = nc
    parseQuickly(nc)
    this.frames = new Frames(nc)
    this.#target = target
    this.#onEnd = onEnd
    this.#health = { ok: true, detail: `connected to ${nc.getServer()}` }
    void this.#follow()
    void nc.closed().then((error) => this.#end(error instanceof Error ? error.message : undefined))
  }

  /** @throws BusError `unauthorized` for refused credentials, `engine_unavailable`, `unsupported`, `invalid_argument` */
  static async open(target: Target): Promise<Connection> {
    const { nc, release } = await dialFirst(target)
    return new Connection(nc, target, release)
  }

  get connected(): boolean {
    return this.#connected
  }

  /** @throws BusError `engine_unavailable`, `closed`: the client would drop what it buffers at the next connect */
  mustBeConnected(): void {
    if (this.#closing) throw new BusError('closed', 'the connection to NATS is closed; connect again')
    if (this.#ended) throw new BusError('closed', `NATS: ${this.#health.detail}`)
    if (!this.#connected) throw new BusError('engine_unavailable', `NATS: ${this.#health.detail}`)
  }

  listen(listener: ConnectionListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    this.#healthListeners.add(listener)
    return () => this.#healthListeners.delete(listener)
  }

  async #follow(): Promise<void> {
    for await (const status of this.nc.status()) {
      switch (status.type) {
        case 'disconnect':
          this.#lose(`the connection to ${status.server} is lost; trying again`)
          break
        case 'staleConnection':
          this.#lose('the server does not answer; trying again')
          break
        case 'reconnect':
          this.#regain(`connected to ${status.server} again`)
          break
        case 'error':
          if (status.error instanceof errors.PermissionViolationError)
            for (const listener of this.#listeners) listener.denied?.(status.error)
          if (refusesCredentials(status.error))
            this.#tell({
              ok: false,
              detail: `the server refuses the credentials (${status.error.message}); trying again with what is read anew`,
            })
          break
        case 'ldm':
          void this.#leave()
      }
    }
  }

  /** This server is about to go: to another one before it does, where there is one, and not with all its clients at once. */
  async #leave(): Promise<void> {
    if (this.nc.getServers().length < 2) return
    await sleep(Math.random() * Math.min(this.#target.options.reconnectJitterMs ?? 1000, 2000), undefined, { ref: false })
    if (!this.#closing) await this.nc.reconnect().catch(() => {})
  }

  #lose(detail: string): void {
    if (!this.#connected) return
    this.#connected = false
    this.#tell({ ok: false, detail })
    for (const listener of this.#listeners) listener.lost?.()
  }

  /** The client has given up. */
  #end(error: string | undefined): void {
    this.#onEnd()
    if (this.#closing) return
    this.#ended = true
    const { reconnectAttempts = -1 } = this.#target.options
    const attempts = reconnectAttempts === -1 ? '' : ` after ${reconnectAttempts} attempts to reconnect (nats.reconnectAttempts)`
    const detail = `the connection has ended${attempts}${error === undefined ? '' : `: ${error}`}; connect again`
    this.#lose(detail)
    this.#tell({ ok: false, detail })
  }

  #regain(detail: string): void {
    this.#connected = true
    this.#tell({ ok: true, detail })
    for (const listener of this.#listeners) listener.back?.()
  }

  #tell(health: EngineHealth): void {
    this.#health = health
    if (this.#closing) return
    for (const listener of this.#healthListeners) listener(health)
  }

  async close(): Promise<void> {
    this.#closing = true
    // A server that is away, or does not read, is not waited for.
    if (this.#connected)
      await within(
        closeWaitMs,
        this.nc.flush().catch(() => {}),
      )
    await this.nc.close()
  }
}
