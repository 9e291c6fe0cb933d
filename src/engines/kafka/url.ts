import { BusError } from '../../errors.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Brokers {
  readonly brokers: readonly Address[]
  readonly tls: boolean
  readonly user: string | undefined
  readonly password: string | undefined
}

const scheme = /^kafka(\+ssl)?:\/\//i
const address = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i

/**
 * `kafka://user:password@a:9092,b:9092`, `kafka+ssl://`.
 * @throws BusError `invalid_argument`; its message never holds what stands before the @
 */
export function parseBrokers(url: string): Brokers {
  const found = scheme.exec(url)
  if (!found) throw new BusError('invalid_argument', 'a Kafka address begins with kafka:// or kafka+ssl://')
  const rest = url.slice(found[0].length).replace(/\/$/, '')
  const at = rest.lastIndexOf('@')
  // A user for each broker would have all before the last @ read as one password.
  if (rest.slice(0, Math.max(0, at)).includes('://'))
    throw new BusError(
      'invalid_argument',
      'a Kafka address has one user, for all brokers: kafka://user:password@a:9092,b:9092; encode what is special in a password',
    )
  const brokers = rest
    .slice(at + 1)
    .split(',')
    .map((part) => {
      const [, host, port = '9092'] = address.exec(part.trim().replace(scheme, '')) ?? []
      if (host === undefined || !(Number(port) >= 1 && Number(port) <= 65_535))
        throw new BusError(
          'invalid_argument',
          `${at >= 0 ? 'an address after the @' : `'${part}'`} is no Kafka broker; write host:port, more of them with commas, options not in the address but under kafka`,
        )
      return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
    })
  const credentials = at < 0 ? undefined : rest.slice(0, at)
  const colon = credentials?.indexOf(':') ?? -1
  if (credentials !== undefined && colon < 0)
    throw new BusError('invalid_argument', 'credentials in a Kafka address are user:password; encode a colon in either as %3A')
  return {
    brokers,
    tls: found[1] !== undefined,
    user: credentials === undefined ? undefined : decode(credentials.slice(0, colon)),
    password: credentials === undefined ? undefined : decode(credentials.slice(colon + 1)),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a % that stands for itself
  }
}
