import { BusError } from '../../errors.ts'
import { type Check, checkOptions, checkTls, day, object, oneOf, secret, text, tls, waiting, whole } from '../checks.ts'

/** What is made, changed or only looked at on the server. */
export type Provision = 'create' | 'apply' | 'verify' | 'off'

/** A topic that programs without the bus share with it. */
export interface SharedTopic {
  /** How long its stream, where it is made here, stores the same id once, ms; at least 100. */
  readonly dedupeWindowMs?: number
  /** How long it keeps messages, ms. */
  readonly maxAgeMs?: number
  /** Groups whose consumers are made along with the stream, before anybody else makes them. */
  readonly groups?: readonly string[]
  /** The acknowledgement wait of those, ms. Default 30 000. */
  readonly ackWaitMs?: number
}

/** The secret itself, or what gives it whenever a connection is made: a renewed one is used without a restart. */
export type Secret = string | (() => string)

export interface NatsOptions {
  /**
   * False: core NATS only. Nothing is stored: whoever listens gets a message, at most once; groups share by queue groups.
   * Default true.
   */
  readonly jetstream?: boolean
  /**
   * `create` makes the streams and consumers that are missing and never alters one that is there. `apply` also brings
   * those to what is asked for. `verify` refuses to go on where something is missing or different. `off` looks at nothing.
   * Default `'create'`.
   */
  readonly provision?: Provision
  /** Copies of each stream made here: 1, 3 or 5; an even number survives no more than the odd one below it. Default 1. */
  readonly replicas?: number
  /** Where streams made here are kept. Default `'file'`. */
  readonly storage?: 'file' | 'memory'
  /** Where a cluster puts streams made here. */
  readonly placement?: { readonly cluster?: string; readonly tags?: readonly string[] }
  /** Durable consumers by the name of their group, where they are called otherwise. Default: the group's own name. */
  readonly durables?: Readonly<Record<string, string>>
  /** How long a stream made here stores the same id once, ms; at least 100. Default 2 minutes. */
  readonly dedupeWindowMs?: number
  /** Partitions of the keyed topics made here: as many members of a group can work at once in order. Default 16. */
  readonly partitions?: number
  /**
   * Whether streams made here take many messages with one answer, on servers from 2.14 on: who publishes many at once uses a
   * third less processor time. A server that is set back to 2.12 does not open such a stream. Default: no.
   */
  readonly fastIngest?: boolean
  /** What is special about the stream of a topic, by its name. */
  readonly shared?: (topic: string) => SharedTopic | undefined
  /** A context of the NATS command line by its name: address and credentials that are not given here come from it. */
  readonly context?: string
  /** User and password. */
  readonly user?: string
  readonly password?: Secret
  readonly token?: Secret
  /** An NKey seed, or the path of a file that holds one. */
  readonly nkey?: Secret
  /** A user JWT, or the path of a file; with {@link nkey} for its seed. */
  readonly jwt?: Secret
  /** The content or the path of a `.creds` file. */
  readonly creds?: Secret
  /** Given, and be it empty: a server without TLS is refused. */
  readonly tls?: {
    /** PEM, or the paths of PEM files; files are read again at each connect. */
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    /** TLS before the server's first line. Default false. */
    readonly handshakeFirst?: boolean
  }
  /** Attempts at each server after a lost connection; -1 = for ever. Default -1. */
  readonly reconnectAttempts?: number
  /** Between two attempts at a server, ms. Default 2000. */
  readonly reconnectWaitMs?: number
  /** Up to how much is added to the wait at random, ms. Default 1000. */
  readonly reconnectJitterMs?: number
  /** For one attempt to connect, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** Between two pings; two unanswered ones end a connection. ms, default 10 000. */
  readonly pingIntervalMs?: number
  /**
   * Whether the first connect waits for a server that is not there yet, or for a cluster without a leader; a number: so
   * many ms at most. Credentials that are refused never wait. Default false.
   */
  readonly waitForServer?: boolean | number
  /** The connection's name on the server. Default `cozebus`. */
  readonly name?: string
}

const checks: Readonly<Record<keyof NatsOptions, Check>> = {
  jetstream: oneOf(true, false),
  provision: oneOf('create', 'apply', 'verify', 'off'),
  replicas: whole(1, 5),
  storage: oneOf('file', 'memory'),
  dedupeWindowMs: whole(100, 7 * day),
  partitions: whole(0, 256),
  fastIngest: oneOf(true, false),
  placement: object,
  durables: object,
  shared: (value) => (typeof value === 'function' ? undefined : 'a function'),
  context: text,
  user: text,
  password: secret,
  token: secret,
  nkey: secret,
  jwt: secret,
  creds: secret,
  tls,
  reconnectAttempts: whole(-1, 1_000_000),
  reconnectWaitMs: whole(10, day),
  reconnectJitterMs: whole(0, day),
  connectTimeoutMs: whole(50, day),
  pingIntervalMs: whole(100, day),
  waitForServer: waiting,
  name: text,
}
const tlsChecks: Readonly<Record<keyof NonNullable<NatsOptions['tls']>, Check>> = {
  ca: text,
  cert: text,
  key: text,
  handshakeFirst: oneOf(true, false),
}

/** @throws BusError `invalid_argument` that names the option, and never shows what it holds where that may be a secret */
export function checkNatsOptions(options: NatsOptions): void {
  checkOptions(options, checks, 'nats')
  checkTls(options.tls, tlsChecks, 'nats.tls')
  if (options.jwt !== undefined && options.creds !== undefined)
    throw new BusError('invalid_argument', 'nats.creds holds a JWT already; give either nats.creds or nats.jwt with nats.nkey')
}
