import { BusError } from '../../errors.ts'

export interface Servers {
  /** `host:port`, or a WebSocket URL; never with credentials. */
  readonly servers: string[]
  readonly websocket: boolean
  /** Asked for, so enforced. */
  readonly tls: boolean
  readonly user: string | undefined
  readonly password: string | undefined
  /** `nats://secret@host`: a name without a password is a token. */
  readonly token: string | undefined
}

const schemes = /^(nats|tls|wss?):\/\//i
const address = /^(?:\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i

/**
 * `nats://a:4222,b:4222`, `tls://`, `ws://`, `wss://`. The client library drops credentials in a URL, or takes part of a
 * password for a port: they are taken out here.
 * @throws BusError `invalid_argument`; its message never holds what stands before the @, nor anything while it is unclear where that ends
 */
export function parseServers(url: string): Servers {
  const first = schemes.exec(url)?.[1]?.toLowerCase()
  if (first === undefined) throw new BusError('invalid_argument', 'a NATS address begins with nats://, tls://, ws:// or wss://')
  const websocket = first.startsWith('ws')
  const secret = url.includes('@')
  let tls = false
  let credentials: string | undefined
  const servers = url.split(',').map((text, index) => {
    const part = text.trim()
    const scheme = schemes.exec(part)?.[1]?.toLowerCase() ?? first
    if (scheme.startsWith('ws') !== websocket || (websocket && scheme !== first))
      throw new BusError(
        'invalid_argument',
        'the servers of one address are reached in one way: all of them by TCP, all by ws:// or all by wss://',
      )
    if (scheme === 'tls' || scheme === 'wss') tls = true
    const rest = part.replace(schemes, '')
    const at = rest.lastIndexOf('@')
    if (at >= 0) {
      credentials ??= rest.slice(0, at)
      if (credentials !== rest.slice(0, at) || (index > 0 && !url.split(',')[0]!.includes('@')))
        throw new BusError(
          'invalid_argument',
          'credentials stand in the first address of a list and are the same for all; write a comma in a password as %2C',
        )
    }
    const [host = '', ...path] = rest.slice(at + 1).split('/')
    const port = address.exec(host)?.[1]
    if (!address.test(host) || (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)))
      throw new BusError(
        'invalid_argument',
        `${secret ? 'an address after the @' : `'${host}'`} is no NATS server; write host:port, more of them with commas, options not in the address but under nats`,
      )
    if (!websocket && path.join('') !== '') throw new BusError('invalid_argument', `a path after '${host}' means nothing to NATS`)
    return websocket ? `${scheme}://${[host, ...path].join('/').replace(/\/+$/, '')}` : port === undefined ? `${host}:4222` : host
  })
  return { servers, websocket, tls, ...split(credentials) }
}

function split(credentials: string | undefined): Pick<Servers, 'user' | 'password' | 'token'> {
  const none = { user: undefined, password: undefined, token: undefined }
  if (credentials === undefined || credentials === '') return none
  const colon = credentials.indexOf(':')
  if (colon < 0) return { ...none, token: decode(credentials) }
  return { ...none, user: decode(credentials.slice(0, colon)), password: decode(credentials.slice(colon + 1)) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A % that stands for itself.
    return text
  }
}
