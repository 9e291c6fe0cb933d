import { BusError } from '../../errors.ts'
import { type Check, checkOptions, checkTls, day, oneOf, secret, text, tls, waiting, whole } from '../checks.ts'

export interface RocketmqTls {
  /** PEM, or the paths of PEM files; files are read again at each connect. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** Whom the certificates are for, where that is not the host in the address. */
  readonly serverName?: string
}

export interface RocketmqOptions {
  /** For brokers with ACL; goes with {@link secretKey}. */
  readonly accessKey?: string
  /** Signs each request. The key itself, or what gives it whenever a connection is made. */
  readonly secretKey?: string | (() => string)
  /** Given, and be it empty: TLS, to name servers and brokers. */
  readonly tls?: RocketmqTls
  /**
   * Topics whose groups other programs are in too, or were: those groups are named on the brokers as they are here, and it is
   * up to you that all members of one read the same topics, as RocketMQ wants it. Default: Coze's own, `opencoze_*`.
   */
  readonly shared?: boolean | ((topic: string) => boolean)
  /** How long a member that is to give up a queue may finish what it has of it in hand, ms; where order is kept. Default 10 000. */
  readonly handoverMs?: number
  /**
   * Where order is kept: a member that lost its connection has so long to come back before its queues are given to others, ms;
   * the same for all members. Default 5000, or 2000 more than `reconnectMaxWaitMs`.
   */
  readonly returnMs?: number
  /** Queues of topics made here, on each broker. Default 8. */
  readonly queues?: number
  /** False: a topic that is missing is an error. Default true. */
  readonly createTopics?: boolean
  /** For one attempt to connect, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** For the answer to a request, ms. Default 10 000. */
  readonly requestTimeoutMs?: number
  /** How long it is found out whether a message that was sent and not answered is stored, ms, and sent again where it is not. Default 25 000. */
  readonly publishTimeoutMs?: number
  /** Before the first attempt to connect again, ms; doubled each time, at random up to it. Default 200. */
  readonly reconnectWaitMs?: number
  /** The longest such wait, ms. Default 3000. */
  readonly reconnectMaxWaitMs?: number
  /** How old what the name servers said of a topic may be, ms. Default 10 000. */
  readonly routeMs?: number
  /** Whether the first connect waits for a broker that is not there yet; a number: so many ms at most. Default false. */
  readonly waitForServer?: boolean | number
  /** The producer group. Default `cozebus`. */
  readonly name?: string
}

export const usualReconnectMaxWaitMs = 3000

/** How long a member may be away. */
export const returnMsOf = ({ returnMs, reconnectMaxWaitMs = usualReconnectMaxWaitMs }: RocketmqOptions): number =>
  returnMs ?? Math.max(5000, reconnectMaxWaitMs + 2000)

const checks: Readonly<Record<keyof RocketmqOptions, Check>> = {
  accessKey: text,
  secretKey: secret,
  tls,
  shared: (value) => (typeof value === 'boolean' || typeof value === 'function' ? undefined : 'true, false or a function'),
  handoverMs: whole(0, day),
  returnMs: whole(500, day),
  queues: whole(1, 1024),
  createTopics: oneOf(true, false),
  connectTimeoutMs: whole(50, day),
  requestTimeoutMs: whole(100, day),
  publishTimeoutMs: whole(0, day),
  reconnectWaitMs: whole(10, day),
  reconnectMaxWaitMs: whole(10, day),
  routeMs: whole(50, day),
  waitForServer: waiting,
  name: text,
}
const tlsChecks: Readonly<Record<keyof RocketmqTls, Check>> = { ca: text, cert: text, key: text, serverName: text }

/** @throws BusError `invalid_argument` that names the option, and never shows what may be a secret */
export function checkRocketmqOptions(options: RocketmqOptions): void {
  checkOptions(options, checks, 'rocketmq')
  checkTls(options.tls, tlsChecks, 'rocketmq.tls')
  const { returnMs, reconnectMaxWaitMs = usualReconnectMaxWaitMs } = options
  if (returnMs !== undefined && returnMs < reconnectMaxWaitMs + 1500)
    throw new BusError(
      'invalid_argument',
      `rocketmq.returnMs is ${returnMs}, and must be 1500 more than rocketmq.reconnectMaxWaitMs (${reconnectMaxWaitMs}): who waits to connect again would lose its queues`,
    )
  if ((options.accessKey === undefined) !== (options.secretKey === undefined))
    throw new BusError('invalid_argument', 'rocketmq.accessKey and rocketmq.secretKey go together')
}
