import { BusError } from '../../errors.ts'
import type { Address } from '../address.ts'

const scheme = /^rocketmq:\/\//i
const address = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/?$/i

/**
 * `rocketmq://ns1:9876,ns2:9876`: the name servers.
 * @throws BusError `invalid_argument`, which never holds what stands before an @
 */
export function parseRocketmqUrl(url: string): Address[] {
  if (!scheme.test(url)) throw new BusError('invalid_argument', 'a RocketMQ address begins with rocketmq:// and lists name servers')
  const rest = url.replace(scheme, '')
  if (rest.includes('@'))
    throw new BusError('invalid_argument', 'a RocketMQ address holds no keys: give rocketmq: { accessKey, secretKey } beside it')
  return rest.split(/[,;]/).map((part) => {
    const [, host, port] = address.exec(part.trim().replace(scheme, '')) ?? []
    if (host === undefined || (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)))
      throw new BusError(
        'invalid_argument',
        `'${part.trim()}' is no name server; write rocketmq://host:9876, more of them with commas, options not in the address but under rocketmq`,
      )
    return { host: host.replace(/^\[|\]$/g, ''), port: port === undefined ? 9876 : Number(port) }
  })
}

/** As a name server writes a broker's; undefined for what is none. */
export function parseAddress(text: string): Address | undefined {
  const cut = text.lastIndexOf(':')
  const port = Number(text.slice(cut + 1))
  if (cut < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined
  return { host: text.slice(0, cut).replace(/^\[|\]$/g, ''), port }
}
