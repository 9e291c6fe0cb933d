import { isIP } from 'node:net'
import { BusError } from '../../errors.ts'
import { readPems } from '../pem.ts'
import { checkKafkaOptions, type KafkaOptions } from './options.ts'
import { type Address, parseBrokers } from './url.ts'

/** Where to connect and how. */
export interface Target {
  readonly brokers: readonly Address[]
  readonly options: KafkaOptions
  /** What every connection is made with. */
  readonly connection: Record<string, unknown>
}

/** @throws BusError `invalid_argument` */
export function resolveTarget(url: string, options: KafkaOptions): Target {
  checkKafkaOptions(options)
  const { brokers, tls, user, password } = parseBrokers(url)
  const name = options.user ?? user
  const secret = options.password ?? password
  if ((name === undefined) !== (secret === undefined))
    throw new BusError(
      'invalid_argument',
      'a user and a password go together: give both in the address, or as kafka.user and kafka.password',
    )
  if (options.mechanism !== undefined && name === undefined)
    throw new BusError('invalid_argument', 'kafka.mechanism says how a user is known: give kafka.user and kafka.password too')
  // A name of the server is told to it; an address is none (RFC 6066).
  return {
    brokers,
    options,
    connection: {
      connectTimeout: options.connectTimeoutMs ?? 5000,
      requestTimeout: 15_000,
      maxInflights: 64,
      ...(tls || options.tls
        ? { tls: readPems(options.tls ?? {}, 'kafka.tls'), tlsServerName: brokers.some(({ host }) => isIP(host) === 0) }
        : {}),
      ...(name === undefined ? {} : { sasl: { mechanism: options.mechanism ?? 'PLAIN', username: name, password: secret } }),
    },
  }
}
