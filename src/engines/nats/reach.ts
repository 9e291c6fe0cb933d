import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { isIP, connect as openSocket, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as startTls } from 'node:tls'
import { BusError } from '../../errors.ts'
import type { NatsOptions } from './options.ts'
import { certificates, hostOf } from './secure.ts'

/** One step on the way to a server. */
export interface Stage {
  readonly stage: 'DNS' | 'TCP' | 'NATS' | 'TLS'
  readonly detail: string
}

export interface Reach {
  /** What went well, in order. */
  readonly stages: readonly Stage[]
  /** The first step that did not. */
  readonly failed?: { readonly stage: Stage['stage']; readonly error: BusError }
}

export interface Way {
  readonly server: string
  readonly websocket: boolean
  /** Asked for. */
  readonly tls: boolean
  readonly options: NatsOptions
  /** Also shake hands by TLS. Without: only whether a server is there, and of the kind that is wanted. */
  readonly through: boolean
}

/** How long a server may take to tell a client that its certificate will not do. */
const alertMs = 500

/**
 * Goes to a server step by step and lets go of it again. The client library leaves a socket open, and the process with it,
 * when a server accepts and then says nothing; and it does not say at which step it failed.
 */
export async function reach(way: Way): Promise<Reach> {
  const stages: Stage[] = []
  const { host, port } = hostOf(way.server)
  const timeoutMs = way.options.connectTimeoutMs ?? 5000
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), timeoutMs)
  let socket: Socket | undefined
  let stage: Stage['stage'] = 'DNS'
  try {
    if (isIP(host) === 0) {
      const found = await Promise.race([lookup(host, { all: true }), aborted(late.signal)])
      stages.push({ stage, detail: `${host} is ${found.map(({ address }) => address).join(', ')}` })
    }
    stage = 'TCP'
    socket = openSocket({ host, port, noDelay: true })
    socket.on('error', () => {})
    await once(socket, 'connect', { signal: late.signal })
    stages.push({ stage, detail: `${host}:${port} accepts connections` })
    const first = way.options.tls?.handshakeFirst === true
    let wanted = way.server.startsWith('wss:') || (first && !way.websocket)
    if (!way.websocket && !first) {
      stage = 'NATS'
      const info = await firstLine(socket, late.signal)
      stages.push({ stage, detail: `nats-server ${info.version}` })
      stage = 'TLS'
      const offered = info.tls_required === true || info.tls_available === true
      if (way.tls && !offered) throw new BusError('unsupported', 'the server has no TLS, which was asked for; nothing was sent')
      if (info.tls_verify === true && way.options.tls?.cert === undefined)
        throw new BusError('unauthorized', 'the server asks for a certificate of the client; give nats.tls.cert and nats.tls.key')
      wanted = offered
    }
    if (wanted && way.through) {
      stage = 'TLS'
      stages.push({ stage, detail: await shakeHands(socket, host, way.options, late.signal) })
    }
    return { stages }
  } catch (error) {
    return { stages, failed: { stage, error: explain(error, stage, host, port, timeoutMs, late.signal.aborted) } }
  } finally {
    clearTimeout(timer)
    socket?.destroy()
  }
}

interface Info {
  version?: string
  tls_required?: boolean
  tls_available?: boolean
  tls_verify?: boolean
}

async function firstLine(socket: Socket, signal: AbortSignal): Promise<Info> {
  let text = ''
  const line = new Promise<string>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (text.includes('\n') || text.length > 65_536) resolve(text.slice(0, text.indexOf('\n')))
    })
    socket.on('close', () => reject(new Error('it closed the connection before its first line; is that a proxy whose server is away?')))
  })
  const found = /^INFO (\{.*\})\s*$/.exec(await Promise.race([line, aborted(signal)]))
  if (!found) throw new Error('what answers there is no NATS server; its client port is 4222 by default')
  socket.removeAllListeners('data')
  return JSON.parse(Buffer.from(found[1]!, 'latin1').toString()) as Info
}

async function shakeHands(socket: Socket, host: string, { tls = {} }: NatsOptions, signal: AbortSignal): Promise<string> {
  const secure = startTls({ socket, host, ...(isIP(host) === 0 ? { servername: host } : {}), ...certificates(tls) })
  const ended = new Promise<never>((_, reject) => {
    secure.once('error', reject)
    secure.once('close', () => reject(new Error('it closed the connection during the handshake')))
  })
  ended.catch(() => {})
  await Promise.race([once(secure, 'secureConnect', { signal }), ended])
  // A certificate that the server refuses is told only after a handshake that went well.
  if (tls.cert !== undefined) await Promise.race([sleep(alertMs), ended])
  return `${secure.getProtocol()}, certificate of ${secure.getPeerCertificate().subject?.CN ?? host}`
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
}

function explain(error: unknown, stage: Stage['stage'], host: string, port: number, timeoutMs: number, late: boolean): BusError {
  if (error instanceof BusError) return error
  const { code, message, errors } = error as NodeJS.ErrnoException & { errors?: Error[] }
  // A name with several addresses fails with a list, and without a text.
  const text = message || (errors ?? []).map((one) => one.message).join(', ') || String(code)
  const unavailable = (why: string): BusError => new BusError('engine_unavailable', why, { cause: error })
  if (late && stage === 'NATS')
    return unavailable(`it accepts and says nothing for ${timeoutMs} ms; if it begins with TLS, set nats.tls.handshakeFirst`)
  if (late) return unavailable(`no answer within ${timeoutMs} ms (nats.connectTimeoutMs); a firewall, or a wrong address?`)
  if (stage === 'DNS') return unavailable(`the name ${host} is not known (${code ?? text})`)
  if (code === 'ECONNREFUSED')
    return unavailable(`connection refused; is the server running, and is ${port} its client port (4222 by default)?`)
  if (stage === 'TLS') return new BusError('unauthorized', `TLS failed: ${text}${remedy(text)}`, { cause: error })
  return unavailable(text)
}

function remedy(text: string): string {
  if (/self[- ]signed|unable to (verify|get)|issuer/i.test(text)) return '; give the authority that signed its certificate by nats.tls.ca'
  if (/altnames|does not match/i.test(text)) return '; use the name that its certificate is for'
  if (/expired/i.test(text)) return '; its certificate has to be renewed'
  if (/alert|certificate required|closed the connection/i.test(text))
    return '; the server wants another certificate of the client (nats.tls.cert)'
  return ''
}
