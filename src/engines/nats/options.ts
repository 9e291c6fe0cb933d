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
  /** Copies of each stream made here: 1, 3 or 5. Default 1. */
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
  /** What is special about the stream of a topic, by its name. */
  readonly shared?: (topic: string) => SharedTopic | undefined
  /** User and password. */
  readonly user?: string
  readonly password?: string
  readonly token?: string
  /** An NKey seed, or the path of a file that holds one. */
  readonly nkey?: string
  /** A user JWT, or the path of a file; with {@link nkey} for its seed. */
  readonly jwt?: string
  /** The content or the path of a `.creds` file. */
  readonly creds?: string
  readonly tls?: {
    /** Paths of PEM files. */
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    /** TLS before the server's first line. Default false. */
    readonly handshakeFirst?: boolean
  }
  /** Attempts after a lost connection; -1 = for ever. Default -1. */
  readonly reconnectAttempts?: number
  /** Between two attempts, ms. Default 2000. */
  readonly reconnectWaitMs?: number
  /** Up to how much is added to the wait at random, ms. Default 1000. */
  readonly reconnectJitterMs?: number
  /** For the first connection, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** Between two pings; two unanswered ones end a connection. ms, default 10 000. */
  readonly pingIntervalMs?: number
  /** The connection's name on the server. Default `cozebus`. */
  readonly name?: string
}
