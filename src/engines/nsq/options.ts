import { BusError } from '../../errors.ts'
import { type Check, checkOptions, checkTls, day, secret, text, tls, waiting, whole } from '../checks.ts'
import { baseOf } from './http.ts'

/** The secret itself, or what gives it whenever a connection is made: a renewed one is used without a restart. */
export type NsqSecret = string | (() => string)

export interface NsqTls {
  /** PEM, or the paths of PEM files; files are read again at each connect. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** Whom the certificate is for, where that is not the host in the address. */
  readonly serverName?: string
}

export interface NsqOptions {
  /** For AUTH. */
  readonly secret?: NsqSecret
  /** Given, and be it empty: an nsqd without TLS is refused. */
  readonly tls?: NsqTls
  /** Compresses what goes over the wire, at this level or nsqd's own; an nsqd that does not is refused. Default false. */
  readonly deflate?: boolean | number
  /** The same by Snappy, which takes less time and more bytes; needs `npm install snappyjs crc-32`. Default false. */
  readonly snappy?: boolean
  /** The HTTP addresses of the nsqds in the order of the URL, where they are not one above the TCP port: `host:4151`, `https://name:password@host:4152`. */
  readonly http?: readonly string[]
  /**
   * Topics that carry bodies alone, as programs without the bus write and read them: no id of ours, no key, no headers, no
   * name but the topic's. Default: Coze's own, `opencoze_*`.
   */
  readonly raw?: boolean | ((topic: string) => boolean)
  /** Between two looks into nsqlookupd, ms. Default 5000. */
  readonly lookupIntervalMs?: number
  /** For one attempt to connect, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** Before the first attempt to connect again, ms; doubled each time, at random up to it. Default 200. */
  readonly reconnectWaitMs?: number
  /** The longest such wait, ms. Default 5000. */
  readonly reconnectMaxWaitMs?: number
  /** Between two signs of life that nsqd is asked for, ms; two and a half without any end a connection. Default 10 000. */
  readonly heartbeatMs?: number
  /**
   * Whether the first connect waits for an nsqd that is not there yet; a number: so many ms at most. Refused secrets never
   * wait. Default false.
   */
  readonly waitForServer?: boolean | number
  /** nsqd's `--max-msg-size`, bytes, where its HTTP side cannot be asked. Default 1 MiB. */
  readonly maxMessageBytes?: number
  /** nsqd's `--max-req-timeout`, ms, where its HTTP side cannot be asked. Default 1 hour. */
  readonly maxDelayMs?: number
  /** What nsqd calls this client. Default `cozebus`. */
  readonly name?: string
}

const checks: Readonly<Record<keyof NsqOptions, Check>> = {
  secret,
  tls,
  deflate: (value) => (typeof value === 'boolean' ? undefined : whole(1, 9)(value) && 'true, false or a level from 1 to 9'),
  snappy: (value) => (typeof value === 'boolean' ? undefined : 'true or false'),
  http: (value) =>
    Array.isArray(value) && value.every(isHttpAddress) ? undefined : 'a list of addresses, host:port or http(s)://host:port',
  raw: (value) => (typeof value === 'boolean' || typeof value === 'function' ? undefined : 'true, false or a function'),
  lookupIntervalMs: whole(50, day),
  connectTimeoutMs: whole(50, day),
  reconnectWaitMs: whole(10, day),
  reconnectMaxWaitMs: whole(10, day),
  heartbeatMs: whole(1000, 60_000),
  waitForServer: waiting,
  maxMessageBytes: whole(1, 2 ** 30),
  maxDelayMs: whole(0, 365 * day),
  name: text,
}
const tlsChecks: Readonly<Record<keyof NsqTls, Check>> = { ca: text, cert: text, key: text, serverName: text }

function isHttpAddress(one: unknown): boolean {
  return typeof one === 'string' && one !== '' && URL.canParse(baseOf(one))
}

/** @throws BusError `invalid_argument` that names the option, and never shows what it holds where that may be a secret */
export function checkNsqOptions(options: NsqOptions): void {
  checkOptions(options, checks, 'nsq')
  checkTls(options.tls, tlsChecks, 'nsq.tls')
  if (options.snappy === true && (options.deflate ?? false) !== false)
    throw new BusError('invalid_argument', 'nsq.snappy and nsq.deflate exclude each other; leave one of them out')
}
