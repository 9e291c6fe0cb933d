import { BusError } from '../../errors.ts'

export interface Servers {
  /** `host:port`, or a WebSocket URL. */
  readonly servers: string[]
  readonly websocket: boolean
  readonly tls: boolean
  readonly user: string | undefined
  readonly password: string | undefined
}

/**
 * `nats://a:4222,b:4222`, `tls://`, `ws://`, `wss://`. The client library drops credentials in a URL, or takes part of a
 * password for a port: they are taken out here.
 * @throws BusError `invalid_argument`; its message never holds what stands before the @
 */
export function parseServers(url: string): Servers {
  const scheme = /^(nats|tls|ws|wss):\/\//.exec(url)?.[1]
  if (scheme === undefined) throw new BusError('invalid_argument', 'a NATS address begins with nats://, tls://, ws:// or wss://')
  let user: string | undefined
  let password: string | undefined
  const servers = url
    .slice(scheme.length + 3)
    .split(',')
    .map((part) => {
      const text = part.trim().replace(/^(nats|tls|ws|wss):\/\//, '')
      const at = text.lastIndexOf('@')
      if (at >= 0) {
        const [name = '', ...rest] = text.slice(0, at).split(':')
        user ??= decode(name)
        if (rest.length > 0) password ??= decode(rest.join(':'))
      }
      const address = text.slice(at + 1).replace(/\/+$/, '')
      if (address === '' || /[\s/?#]/.test(address.split('/')[0]!))
        throw new BusError('invalid_argument', `'${address}' is no NATS server; write host:port, more of them with commas`)
      return scheme === 'ws' || scheme === 'wss' ? `${scheme}://${address}` : address
    })
  return { servers, websocket: scheme === 'ws' || scheme === 'wss', tls: scheme === 'tls' || scheme === 'wss', user, password }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
