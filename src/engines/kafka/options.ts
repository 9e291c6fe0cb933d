import { BusError } from '../../errors.ts'

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

type Check = (value: unknown) => string | undefined

const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value) ? undefined : `one of ${values.map((one) => (typeof one === 'string' ? `'${one}'` : String(one))).join(', ')}`
const whole =
  (least: number, most: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most
      ? undefined
      : `a whole number from ${least} to ${most}`
const text: Check = (value) => (typeof value === 'string' && value.trim() !== '' ? undefined : 'a text that is not empty')
const day = 86_400_000

const checks: Readonly<Record<keyof KafkaOptions, Check>> = {
  partitions: whole(1, 1024),
  replicas: whole(1, 32),
  createTopics: oneOf(true, false),
  partitioner: (value) =>
    typeof value === 'function' ? undefined : oneOf('java', 'fnv1a')(value) && "'java', 'fnv1a' or a function that gives one",
  compression: oneOf('none', 'gzip', 'snappy', 'lz4', 'zstd'),
  user: text,
  password: (value) => (typeof value === 'function' ? undefined : text(value) && 'a text that is not empty, or a function that gives one'),
  mechanism: oneOf('PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'),
  tls: (value) => (typeof value === 'object' && value !== null ? undefined : 'an object, {} for TLS with the authorities of the system'),
  sessionTimeoutMs: whole(1000, day),
  handoverMs: whole(0, day),
  publishTimeoutMs: whole(100, day),
  connectTimeoutMs: whole(50, day),
  waitForServer: (value) => (typeof value === 'boolean' ? undefined : whole(1, 30 * day)(value) && 'true, false or a time in ms'),
  name: text,
}
const tlsChecks: Readonly<Record<keyof NonNullable<KafkaOptions['tls']>, Check>> = { ca: text, cert: text, key: text }

/** @throws BusError `invalid_argument` that names the option, and never shows what may be a secret */
export function checkKafkaOptions(options: KafkaOptions): void {
  check(options, checks, 'kafka')
  if (options.tls) check(options.tls, tlsChecks, 'kafka.tls')
  if ((options.tls?.cert === undefined) !== (options.tls?.key === undefined))
    throw new BusError('invalid_argument', 'kafka.tls.cert and kafka.tls.key go together: a certificate of the client and its key')
}

function check(values: object, table: Readonly<Record<string, Check>>, prefix: string): void {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    if (!Object.hasOwn(table, name))
      throw new BusError('invalid_argument', `there is no option ${prefix}.${name}; there are ${Object.keys(table).join(', ')}`)
    const wanted = table[name]!(value)
    if (wanted !== undefined) throw new BusError('invalid_argument', `${prefix}.${name} must be ${wanted}`)
  }
}
