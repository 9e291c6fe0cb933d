import { BusError } from '../../errors.ts'
import type { Address } from '../address.ts'

export interface Target {
  readonly secure: boolean
  readonly addresses: readonly Address[]
}

const example = 'pulsar://127.0.0.1:6650, or pulsar+ssl://one:6651,two:6651'

/**
 * `pulsar://host:port,host:port`; the scheme may stand before each host. Without a port 6650, with TLS 6651.
 * @throws BusError `invalid_argument`
 */
export function parsePulsarUrl(url: string): Target {
  const refuse = (why: string): never => {
    throw new BusError('invalid_argument', `${why}; a Pulsar URL is ${example}`)
  }
  const [, scheme, rest] = /^(pulsar(?:\+ssl)?):\/\/(.*)$/is.exec(url) ?? refuse(`'${url.replace(/\/\/.*@/s, '//…@')}' is no URL of Pulsar`)
  const secure = scheme!.toLowerCase() === 'pulsar+ssl'
  if (rest!.includes('@')) refuse('a Pulsar URL holds no credentials: use pulsar.token')
  const addresses = rest!
    .replace(/\/+$/, '')
    .split(',')
    .map((part) => {
      const host = part
        .trim()
        .replace(new RegExp(`^${scheme!.replace('+', '\\+')}://`, 'i'), '')
        .replace(/\/+$/, '')
      return parseAddress(host, secure ? 6651 : 6650) ?? refuse(`'${part.trim()}' is no address`)
    })
  return { secure, addresses }
}

export function parseAddress(text: string, port: number): Address | undefined {
  const [, v6, name, given] = /^(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const number = given === undefined ? port : Number(given)
  const host = v6 ?? name
  return host !== undefined && number > 0 && number < 65_536 ? { host, port: number } : undefined
}
