import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { isPem, readPems } from '../pem.ts'
import type { NatsOptions } from './options.ts'

type Tls = NonNullable<NatsOptions['tls']>

/** What Node's TLS needs, read now. @throws BusError `invalid_argument` for a file that cannot be read */
export const certificates = (tls: Tls): ReturnType<typeof readPems> => readPems(tls, 'nats.tls')

/** The same for the client library, which reads files itself at each connect. */
export function clientTls(tls: Tls, servers: readonly string[]): object {
  certificates(tls)
  const one = (name: 'ca' | 'cert' | 'key'): object => {
    const value = tls[name]
    return value === undefined ? {} : { [isPem(value) ? name : `${name}File`]: value }
  }
  return { ...one('ca'), ...one('cert'), ...one('key'), handshakeFirst: tls.handshakeFirst ?? false, ...identity(servers) }
}

/** For a server that is dialled by its IP the client library checks the certificate against the name `localhost`. */
function identity(servers: readonly string[]): object {
  const hosts = servers.map((server) => hostOf(server).host)
  const ips = hosts.filter((host) => isIP(host) !== 0)
  if (ips.length === 0 || hosts.includes('localhost')) return {}
  return {
    checkServerIdentity: (name: string, certificate: PeerCertificate) => {
      const wrong = checkServerIdentity(name === 'localhost' ? ips[0]! : name, certificate)
      if (name !== 'localhost' || wrong === undefined) return wrong
      return ips.some((ip) => checkServerIdentity(ip, certificate) === undefined) ? undefined : wrong
    },
  }
}

export function hostOf(server: string): { host: string; port: number } {
  // ws becomes http, wss https; host:port is given with its port.
  const { hostname, port, protocol } = new URL(/^wss?:/.test(server) ? server.replace(/^ws/, 'http') : `http://${server}`)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port) }
}
