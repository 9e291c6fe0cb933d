import { type ConnectionOptions, connect, type NatsConnection, wsconnect } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import { withContext } from './context.ts'
import { authenticator } from './credentials.ts'
import { natsError, refusesCredentials } from './failure.ts'
import { checkNatsOptions, type NatsOptions } from './options.ts'
import { reach } from './reach.ts'
import { clientTls } from './secure.ts'
import { parseServers, type Servers } from './url.ts'
import { openWebSocket } from './websocket.ts'

/** Whom to connect to, and as whom: everything checked, nothing opened. */
export interface Target extends Pick<Servers, 'servers' | 'websocket' | 'tls'> {
  readonly options: NatsOptions
  readonly connection: ConnectionOptions
}

/** What the address is when only a context is named. */
const contextScheme = /^nats\+context:/

/** @throws BusError `invalid_argument`, `not_found` for a context that is not there, `unsupported` */
export function resolveTarget(url: string, given: NatsOptions): Target {
  checkNatsOptions(given)
  const named = contextScheme.test(url) ? { ...given, context: url.replace(contextScheme, '') } : given
  const { url: inContext, options } = withContext(named)
  checkNatsOptions(options)
  const address = contextScheme.test(url) ? (inContext ?? 'nats://127.0.0.1:4222') : url
  const target = parseServers(address.includes('://') ? address : `nats://${address}`)
  const tls = target.tls || options.tls !== undefined
  if (target.websocket && options.tls && !target.tls)
    throw new BusError('invalid_argument', 'nats.tls goes with wss://, not with ws://, which is never encrypted')
  const auth = authenticator(options, target)
  const { reconnectJitterMs: jitter = 1000 } = options
  return {
    servers: target.servers,
    websocket: target.websocket,
    tls,
    options,
    connection: {
      name: options.name ?? 'cozebus',
      maxReconnectAttempts: options.reconnectAttempts ?? -1,
      reconnectTimeWait: options.reconnectWaitMs ?? 2000,
      reconnectJitter: jitter,
      reconnectJitterTLS: jitter,
      timeout: options.connectTimeoutMs ?? 5000,
      // The client's own two minutes would notice a dead peer after four to six.
      pingInterval: options.pingIntervalMs ?? 10_000,
      maxPingOut: 2,
      // Credentials that expire while we run turn health red; they do not end the connection for good.
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
      ...(auth ? { authenticator: auth } : {}),
      ...(tls && !target.websocket ? { tls: clientTls(options.tls ?? {}, target.servers) as NonNullable<ConnectionOptions['tls']> } : {}),
    },
  }
}

/** The client library has one transport a process, for reconnecting too: the newest connection's. */
const open = { tcp: 0, websocket: 0 }

/**
 * Connects to the first of the servers that lets us in, in any order; each is tried once.
 * @throws BusError `unauthorized` at the first that refuses the credentials; else what each of them said
 */
export async function dialFirst(target: Target): Promise<{ nc: NatsConnection; release: () => void }> {
  const kind = target.websocket ? 'websocket' : 'tcp'
  if (open[target.websocket ? 'tcp' : 'websocket'] > 0)
    throw new BusError(
      'unsupported',
      'this process is connected to NATS both by TCP and by WebSocket, which the client library cannot do; use one of them',
    )
  open[kind]++
  let held = true
  const release = (): void => {
    if (held) open[kind]--
    held = false
  }
  const failures: { server: string; error: BusError }[] = []
  try {
    for (const server of shuffled(target.servers)) {
      try {
        const nc = await dial(target, server)
        if (target.servers.length > 1) nc.setServers(target.servers)
        return { nc, release }
      } catch (error) {
        const failure = natsError(error, 'NATS')
        failures.push({ server, error: failure })
        if (refusesCredentials(failure.cause)) break
      }
    }
  } catch (error) {
    release()
    throw error
  }
  release()
  throw summary(failures)
}

/** @throws BusError */
export async function dial(target: Target, server: string): Promise<NatsConnection> {
  const { options, websocket, tls } = target
  const before = await reach({ server, options, websocket, tls, through: false })
  if (before.failed) throw before.failed.error
  try {
    return await (websocket
      ? wsconnect({ ...target.connection, servers: server, wsFactory: (url: string) => openWebSocket(url, options) } as ConnectionOptions)
      : connect({ ...target.connection, servers: server }))
  } catch (error) {
    const failure = natsError(error, 'NATS')
    if (failure.code !== 'engine_unavailable') throw failure
    // The client says little of what TLS did not like.
    const { failed } = await reach({ server, options, websocket, tls, through: true })
    throw failed?.error ?? failure
  }
}

function summary(failures: readonly { server: string; error: BusError }[]): BusError {
  const refused = failures.find(({ error }) => refusesCredentials(error.cause))
  const final = refused ?? failures[0]!
  const codes = new Set(failures.map(({ error }) => error.code))
  const code = refused || codes.size === 1 ? final.error.code : 'engine_unavailable'
  const said = failures.map(({ server, error }) => `${server}: ${error.message}`).join(' · ')
  return new BusError(code, `cannot connect to NATS at ${said}`, { cause: final.error })
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((value) => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value)
}
