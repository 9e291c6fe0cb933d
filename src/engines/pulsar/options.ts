import { type Check, checkOptions, checkTls, day, oneOf, secret, text, tls, waiting, whole } from '../checks.ts'
import type { Compression } from './compression.ts'

export interface PulsarTls {
  /** Authorities to trust, PEM or a file. Default: those of the system. */
  readonly ca?: string
  /** Mutual TLS: the client's certificate and its key, PEM or files. */
  readonly cert?: string
  readonly key?: string
  /** The name in the server's certificate. Default: the host of the URL. */
  readonly serverName?: string
}

export interface PulsarOptions {
  /** A JSON web token, or what gives one for each connection, for each call over HTTP, and when the broker asks again. */
  readonly token?: string | (() => string | Promise<string>)
  /** For `pulsar+ssl://`. */
  readonly tls?: PulsarTls
  /** Tenant and namespace of topics. Default `public/default`. */
  readonly namespace?: string
  /**
   * Where the brokers answer over HTTP: what a new topic keeps, lag, deletion. Default: port 8080 of the first host, 8443 over https
   * with TLS; false: not at all.
   */
  readonly admin?: string | false
  /** How long topics made here keep what was settled, ms; needs `admin`. Default 7 days. */
  readonly historyMs?: number
  /** Partitions of topics made here; needs `admin`. Default 0: none. */
  readonly partitions?: number
  /** What goes out is compressed, where that makes it smaller. Default `none`. */
  readonly compression?: Exclude<Compression, 'snappy'>
  /** For one attempt to connect, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** For the answer to a request, ms. Default 10 000. */
  readonly requestTimeoutMs?: number
  /** Before the first attempt to connect again, ms; doubled each time, at random up to it. Default 100. */
  readonly reconnectWaitMs?: number
  /** The longest such wait, ms. Default 3000. */
  readonly reconnectMaxWaitMs?: number
  /** What runs on after its consumer was moved or lost has so long to come again before it counts as somebody else's, ms. Default 10 000. */
  readonly returnMs?: number
  /** Whether the first connect waits for a broker that is not there yet; a number: so many ms at most. Default false. */
  readonly waitForServer?: boolean | number
  /** How this process is called in the brokers' statistics. Default `cozebus`. */
  readonly name?: string
}

const namespace: Check = (value) =>
  typeof value === 'string' && /^[\w=:.-]+\/[\w=:.-]+$/.test(value) ? undefined : 'a tenant and a namespace, like public/default'

const checks: Readonly<Record<keyof PulsarOptions, Check>> = {
  token: secret,
  tls,
  namespace,
  admin: (value) =>
    value === false || (typeof value === 'string' && /^https?:\/\/\S+$/.test(value)) ? undefined : 'an http(s) URL, or false',
  historyMs: whole(0, 3650 * day),
  partitions: whole(0, 1024),
  compression: oneOf('none', 'lz4', 'zlib', 'zstd'),
  connectTimeoutMs: whole(50, day),
  requestTimeoutMs: whole(100, day),
  reconnectWaitMs: whole(10, day),
  reconnectMaxWaitMs: whole(10, day),
  returnMs: whole(0, day),
  waitForServer: waiting,
  name: text,
}
const tlsChecks: Readonly<Record<keyof PulsarTls, Check>> = { ca: text, cert: text, key: text, serverName: text }

/** @throws BusError `invalid_argument` that names the option, and never shows what may be a secret */
export function checkPulsarOptions(options: PulsarOptions): void {
  checkOptions(options, checks, 'pulsar')
  checkTls(options.tls, tlsChecks, 'pulsar.tls')
}
