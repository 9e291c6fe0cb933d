import { BusError } from '../errors.ts'

/** A variable that is set and not empty. */
export interface Given {
  readonly name: string
  readonly value: string
}

/** Ports that say what listens there. */
const known: Readonly<Record<string, { readonly what: string; readonly of: string }>> = {
  4150: { what: 'nsqd', of: 'nsq' },
  4151: { what: "nsqd's HTTP", of: '' },
  4160: { what: 'nsqlookupd', of: '' },
  4161: { what: "nsqlookupd's HTTP", of: '' },
  4171: { what: 'nsqadmin', of: '' },
  4222: { what: 'NATS', of: 'nats' },
  6222: { what: "NATS's routes between servers", of: '' },
  8222: { what: "NATS's monitoring", of: '' },
  6650: { what: 'Pulsar', of: 'pulsar' },
  6651: { what: 'Pulsar over TLS', of: 'pulsar' },
  9092: { what: 'Kafka', of: 'kafka' },
  9876: { what: "RocketMQ's name server", of: 'rmq' },
  10911: { what: "RocketMQ's broker", of: '' },
}

const usual: Readonly<Record<string, string>> = {
  nats: 'nats:4222',
  nsq: 'nsqd:4150',
  kafka: 'kafka:9092',
  rmq: 'rocketmq-namesrv:9876',
  pulsar: 'pulsar://pulsar:6650',
}

/**
 * The servers of a variable as `host:port`, whatever way the list is written, and the scheme of the first.
 * @throws BusError `invalid_argument` with a hint, for another broker's scheme, or its port where no scheme is written
 */
export function addressesOf(
  { name, value }: Given,
  type: string,
  schemes: readonly string[],
): { scheme: string | undefined; hosts: string[] } {
  const wrong = (why: string): never => {
    throw new BusError('invalid_argument', `${name}: ${why}; with COZE_MQ_TYPE=${type} it is like ${usual[type]}`)
  }
  let scheme: string | undefined
  const hosts = value.split(/[,;]/).flatMap((part) => {
    const text = part.trim()
    if (text === '') return []
    const own = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
    if (own !== undefined && !schemes.includes(own)) wrong(`the address begins with ${own}://`)
    scheme ??= own
    const host = (own === undefined ? text : text.slice(own.length + 3)).replace(/\/+$/, '')
    const port = /:(\d+)$/.exec(host)?.[1]
    const listens = port === undefined ? undefined : known[port]
    if (own === undefined && listens && listens.of !== type)
      wrong(`${host} is a port of ${listens.what} (write ${schemes[0]}://${host} if it is right all the same)`)
    return [host]
  })
  if (hosts.length === 0) wrong('it names no server')
  return { scheme, hosts }
}

/** Whether two lists name the same servers. */
export function sameServers(one: readonly string[], other: readonly string[], port: number): boolean {
  const plain = (hosts: readonly string[]): string =>
    [...new Set(hosts.map((host) => host.replace(/^.*@/, '')).map((host) => (/:\d+$/.test(host) ? host : `${host}:${port}`)))].sort().join()
  return plain(one) === plain(other)
}
