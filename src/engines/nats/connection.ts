import { type ConnectionOptions, connect, errors, type NatsConnection, wsconnect } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { EngineHealth } from '../engine.ts'
import { authenticator } from './credentials.ts'
import { natsError } from './failure.ts'
import type { NatsOptions } from './options.ts'
import { parseServers } from './url.ts'

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

/** One connection to one cluster: opens it, follows its state, and says so. */
export class Connection {
  readonly nc: NatsConnection
  #health: EngineHealth
  #connected = true
  #closing = false
  readonly #healthListeners = new Set<(health: EngineHealth) => void>()
  readonly #listeners = new Set<ConnectionListener>()

  private constructor(nc: NatsConnection) {
    this.nc = nc
    this.#health = { ok: true, detail: `connected to ${nc.getServer()}` }
    void this.#follow()
    void nc.closed().then((error) => {
      this.#lose(error instanceof Error ? `the connection ended: ${error.message}` : 'the connection is closed')
    })
  }

  /** @throws BusError `unauthorized` for refused credentials, `engine_unavailable`, `invalid_argument` */
  static async open(url: string, options: NatsOptions): Promise<Connection> {
    const { servers, websocket, tls, user, password } = parseServers(url)
    const auth = authenticator(options, user, password)
    const connectionOptions: ConnectionOptions = {
      servers,
      name: options.name ?? 'cozebus',
      maxReconnectAttempts: options.reconnectAttempts ?? -1,
      reconnectTimeWait: options.reconnectWaitMs ?? 2000,
      reconnectJitter: options.reconnectJitterMs ?? 1000,
      reconnectJitterTLS: options.reconnectJitterMs ?? 1000,
      timeout: options.connectTimeoutMs ?? 5000,
      // The client's own two minutes would notice a dead peer after four to six.
      pingInterval: options.pingIntervalMs ?? 10_000,
      maxPingOut: 2,
      // Credentials that expire while we run turn health red; they do not end the connection for good.
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
      ...(auth ? { authenticator: auth } : {}),
      ...(tls || options.tls ? { tls: tlsOptions(options) } : {}),
    }
    try {
      return new Connection(await (websocket ? wsconnect : connect)(connectionOptions))
    } catch (error) {
      const { code, message } = natsError(error, `NATS at ${servers.join(', ')}`)
      throw new BusError(code, `${message}${hint(error)}`, { cause: error })
    }
  }

  get connected(): boolean {
    return this.#connected
  }

  /** @throws BusError `engine_unavailable`, `closed`: the client would drop what it buffers at the next connect */
  mustBeConnected(): void {
    if (this.#closing) throw new BusError('closed', 'the connection to NATS is closed; connect again')
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
          if (status.error instanceof errors.AuthorizationError || status.error instanceof errors.UserAuthenticationExpiredError)
            this.#tell({
              ok: false,
              detail: `the server refuses the credentials (${status.error.message}); trying again with what is read anew`,
            })
          break
        case 'ldm':
          // This server is about to leave: another one before it does.
          if (!this.#closing) void this.nc.reconnect().catch(() => {})
      }
    }
  }

  #lose(detail: string): void {
    if (!this.#connected) return
    this.#connected = false
    this.#tell({ ok: false, detail })
    for (const listener of this.#listeners) listener.lost?.()
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
    await this.nc.flush().catch(() => {})
    await this.nc.close()
  }
}

function tlsOptions({ tls }: NatsOptions): NonNullable<ConnectionOptions['tls']> {
  return {
    ...(tls?.ca === undefined ? {} : { caFile: tls.ca }),
    ...(tls?.cert === undefined ? {} : { certFile: tls.cert }),
    ...(tls?.key === undefined ? {} : { keyFile: tls.key }),
    ...(tls?.handshakeFirst === undefined ? {} : { handshakeFirst: tls.handshakeFirst }),
  }
}

function hint(thrown: unknown): string {
  const text = String(thrown)
  if (/ECONNREFUSED|connection refused/i.test(text)) return '; is the server running, and is this its client port (4222 by default)?'
  if (/ENOTFOUND|getaddrinfo/i.test(text)) return '; the name is not known'
  if (/certificate|self-signed|unable to verify/i.test(text)) return '; give the authority that signed its certificate by nats.tls.ca'
  return ''
}
