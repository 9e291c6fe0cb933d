import { type Check, checkOptions, checkTls, day, oneOf, secret, text, tls, waiting, whole } from '../checks.ts'

/** How a key becomes a partition: as Java's client does, or as sarama (Go, and so Coze's bus) does. */
export type Partitioner = 'java' | 'fnv1a'

export interface KafkaOptions {
  /** Partitions of topics made here: as many members of a group can work at once. Default 8. */
  readonly partitions?: number
  /** Copies of topics made here. Default: what the broker says. */
  readonly replicas?: number
  /** False: a topic that is missing is an error. Default true. */
  readonly createTopics?: boolean
  /** For all topics, or by the topic's name. Default `fnv1a` for Coze's own topics (`opencoze_…`), `java` for others. */
  readonly partitioner?: Partitioner | ((topic: string) => Partitioner | undefined)
  /** Of what is sent. Default `'none'`; what comes in may have any. */
  readonly compression?: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  readonly user?: string
  /** The secret itself, or what gives it whenever a connection is made. */
  readonly password?: string | (() => string)
  /** Default `'PLAIN'` where there is a user. */
  readonly mechanism?: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  /** Given, and be it empty: TLS. */
  readonly tls?: {
    /** PEM, or the paths of PEM files. */
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
  }
  /** After so long without a sign of a member the broker gives its partitions to others, ms. Default 30 000. */
  readonly sessionTimeoutMs?: number
  /** How long a member that is to give up a partition may finish what it has of it in hand, ms. Default 10 000. */
  readonly handoverMs?: number
  /** How long a message that was sent and not answered is sent again, ms: it is stored once all the same. Default 25 000. */
  readonly publishTimeoutMs?: number
  /** For one attempt to connect, ms. Default 5000. */
  readonly connectTimeoutMs?: number
  /** Whether the first connect waits for a broker that is not there yet; a number: so many ms at most. Default false. */
  readonly waitForServer?: boolean | number
  /** The client's name on the broker. Default `cozebus`. */
  readonly name?: string
}

const checks: Readonly<Record<keyof KafkaOptions, Check>> = {
  partitions: whole(1, 1024),
  replicas: whole(1, 32),
  createTopics: oneOf(true, false),
  partitioner: (value) =>
    typeof value === 'function' ? undefined : oneOf('java', 'fnv1a')(value) && "'java', 'fnv1a' or a function that gives one",
  compression: oneOf('none', 'gzip', 'snappy', 'lz4', 'zstd'),
  user: text,
  password: secret,
  mechanism: oneOf('PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'),
  tls,
  sessionTimeoutMs: whole(1000, day),
  handoverMs: whole(0, day),
  publishTimeoutMs: whole(100, day),
  connectTimeoutMs: whole(50, day),
  waitForServer: waiting,
  name: text,
}
const tlsChecks: Readonly<Record<keyof NonNullable<KafkaOptions['tls']>, Check>> = { ca: text, cert: text, key: text }

/** @throws BusError `invalid_argument` that names the option, and never shows what may be a secret */
export function checkKafkaOptions(options: KafkaOptions): void {
  checkOptions(options, checks, 'kafka')
  checkTls(options.tls, tlsChecks, 'kafka.tls')
}
