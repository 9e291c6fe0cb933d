import { BusError } from '../../errors.ts'
import type { Address } from '../address.ts'

export interface NsqTarget {
  /** What is listed: nsqd's TCP side, or nsqlookupd's HTTP side. */
  readonly kind: 'nsqd' | 'lookupd'
  readonly addresses: readonly Address[]
  readonly secret: string | undefined
}

const schemes = /^nsq(\+lookup)?:\/\//i
const address = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/?$/i

/**
 * `nsq://a:4150,b:4150` for nsqds, `nsq+lookup://a:4161,b:4161` for those that nsqlookupd knows; `secret@` before the first.
 * @throws BusError `invalid_argument`, which never holds what stands before the @
 */
export function parseNsqUrl(url: string): NsqTarget {
  const scheme = schemes.exec(url)
  if (!scheme) throw new BusError('invalid_argument', 'an NSQ address begins with nsq:// or nsq+lookup://')
  const lookup = scheme[1] !== undefined
  const rest = url.slice(scheme[0].length)
  const at = rest.lastIndexOf('@')
  const addresses = rest
    .slice(at + 1)
    .split(',')
    .map((text) => {
      const part = text.trim().replace(schemes, '')
      const [, host, port] = address.exec(part) ?? []
      if (host === undefined || (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)))
        throw new BusError(
          'invalid_argument',
          `${at >= 0 ? 'an address after the @' : `'${part}'`} is no ${lookup ? 'nsqlookupd' : 'nsqd'}; write host:port, more of them with commas, options not in the address but under nsq`,
        )
      return { host: host.replace(/^\[|\]$/g, ''), port: port === undefined ? (lookup ? 4161 : 4150) : Number(port) }
    })
  const secret = at > 0 ? decode(rest.slice(0, at)) : undefined
  return { kind: lookup ? 'lookupd' : 'nsqd', addresses, secret }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
