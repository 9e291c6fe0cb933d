import type { NatsOptions } from '../engines/nats/options.ts'
import type { NsqOptions } from '../engines/nsq/options.ts'
import type { PulsarOptions } from '../engines/pulsar/options.ts'
import { BusError } from '../errors.ts'
import { addressesOf, type Given, sameServers } from './addresses.ts'

/** The variables, as in `process.env`. */
export type CozeEnv = Readonly<Record<string, string | undefined>>

export interface NatsConfig {
  readonly type: 'nats'
  /** As {@link connect} takes it. */
  readonly url: string
  /** `jetstream: false` unless `NATS_USE_JETSTREAM=true`: then nothing is stored. */
  readonly nats: NatsOptions
}
export interface KafkaConfig {
  readonly type: 'kafka'
  readonly brokers: readonly string[]
  /** As {@link connect} takes it. */
  readonly url: string
}
export interface NsqConfig {
  readonly type: 'nsq'
  /** As {@link connect} takes it: nsqds, or `nsq+lookup://` and lookup daemons. */
  readonly url: string
  readonly nsq: NsqOptions
  /** Where dead letters and attempts are kept, which NSQ cannot; members on several machines share it. */
  readonly ledger: string | undefined
}
export interface RmqConfig {
  readonly type: 'rmq'
  readonly nameServers: readonly string[]
  readonly accessKey: string | undefined
  readonly secretKey: string | undefined
  /** Where dead letters and attempts are kept, which RocketMQ cannot; members on several machines share it. */
  readonly ledger: string | undefined
}
export interface PulsarConfig {
  readonly type: 'pulsar'
  /** As {@link connect} takes it. */
  readonly url: string
  readonly pulsar: PulsarOptions
  /** Where dead letters and attempts are kept, which Pulsar cannot; members on several machines share it. */
  readonly ledger: string | undefined
}
export type CozeConfig = NatsConfig | KafkaConfig | NsqConfig | RmqConfig | PulsarConfig

/**
 * The configuration of a Coze Studio service, from its variables; an empty one counts as not set.
 * @throws BusError `invalid_argument` for what is missing, unknown or contradictory, with what to write instead
 */
export function configFromEnv(env: CozeEnv = process.env): CozeConfig {
  const get = (name: string): string | undefined => env[name]?.trim() || undefined
  const type = get('COZE_MQ_TYPE')
  switch (type) {
    case 'nats':
      return natsConfig(get)
    case 'kafka':
      return kafkaConfig(get)
    case 'nsq':
      return nsqConfig(get)
    case 'rmq':
      return {
        type,
        nameServers: addressesOf(server(get, type, 'RMQ_NAME_SERVER'), type, ['rocketmq', 'http']).hosts,
        accessKey: get('RMQ_ACCESS_KEY'),
        secretKey: get('RMQ_SECRET_KEY'),
        ledger: get('COZEBUS_LEDGER'),
      }
    case 'pulsar':
      return pulsarConfig(get)
    case undefined:
      throw new BusError('invalid_argument', 'COZE_MQ_TYPE is not set; it is one of nats, kafka, nsq, rmq, pulsar')
    default:
      throw new BusError(
        'invalid_argument',
        `COZE_MQ_TYPE=${type} is unknown; it is one of nats, kafka, nsq, rmq, pulsar, in small letters`,
      )
  }
}

function nsqConfig(get: Get): NsqConfig {
  const { scheme = 'nsq', hosts } = addressesOf(server(get, 'nsq'), 'nsq', ['nsq', 'nsq+lookup'])
  const secret = get('NSQ_AUTH_SECRET')
  return {
    type: 'nsq',
    url: `${scheme}://${hosts.join(',')}`,
    nsq: { ...(secret === undefined ? {} : { secret }), ...tlsOf(get, 'NSQ') },
    ledger: get('COZEBUS_LEDGER'),
  }
}

function pulsarConfig(get: Get): PulsarConfig {
  const { scheme = 'pulsar', hosts } = addressesOf(server(get, 'pulsar', 'PULSAR_SERVICE_URL'), 'pulsar', ['pulsar', 'pulsar+ssl'])
  const token = get('PULSAR_JWT_TOKEN')
  return {
    type: 'pulsar',
    url: `${scheme}://${hosts.join(',')}`,
    pulsar: { ...(token === undefined ? {} : { token }), ...tlsOf(get, 'PULSAR') },
    ledger: get('COZEBUS_LEDGER'),
  }
}

/** `<BROKER>_CA`, `_CERT` and `_KEY`. */
function tlsOf(get: Get, broker: string): { readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } } {
  const [ca, cert, key] = [get(`${broker}_CA`), get(`${broker}_CERT`), get(`${broker}_KEY`)]
  if ((cert === undefined) !== (key === undefined))
    throw new BusError('invalid_argument', `${broker}_CERT and ${broker}_KEY belong together: a client certificate and its key`)
  if (ca === undefined && cert === undefined) return {}
  return { tls: { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert, key: key! }) } }
}

/** A user and a password stand in the address, before the first host, as elsewhere. */
function kafkaConfig(get: Get): KafkaConfig {
  const { scheme = 'kafka', hosts } = addressesOf(server(get, 'kafka'), 'kafka', ['kafka', 'kafka+ssl'])
  return { type: 'kafka', brokers: hosts.map((host) => host.replace(/^.*@/, '')), url: `${scheme}://${hosts.join(',')}` }
}

type Get = (name: string) => string | undefined

/** Where the broker is: what the Go services read, else the broker's own variable. */
function server(get: Get, type: string, own?: string): Given {
  for (const name of own === undefined ? ['MQ_NAME_SERVER'] : ['MQ_NAME_SERVER', own]) {
    const value = get(name)
    if (value !== undefined) return { name, value }
  }
  throw new BusError(
    'invalid_argument',
    `COZE_MQ_TYPE=${type}, and neither MQ_NAME_SERVER${own === undefined ? '' : ` nor ${own}`} says where it is`,
  )
}

const schemes = ['nats', 'tls', 'ws', 'wss']

function natsConfig(get: Get): NatsConfig {
  const given = server(get, 'nats', 'NATS_SERVER_URL')
  const { scheme = 'nats', hosts } = addressesOf(given, 'nats', schemes)
  const guide = get('NATS_SERVER_URL')
  if (guide !== undefined) {
    const other = addressesOf({ name: 'NATS_SERVER_URL', value: guide }, 'nats', schemes)
    if (!sameServers(hosts, other.hosts, 4222))
      throw new BusError(
        'invalid_argument',
        'MQ_NAME_SERVER and NATS_SERVER_URL name different servers; Coze Studio itself reads MQ_NAME_SERVER alone: set both to the same, or leave one out',
      )
  }
  return { type: 'nats', url: `${scheme}://${hosts.join(',')}`, nats: natsOptions(get) }
}

function jetstream(get: Get): boolean {
  const value = get('NATS_USE_JETSTREAM')
  if (value === undefined || value === 'false') return false
  if (value === 'true') return true
  throw new BusError('invalid_argument', `NATS_USE_JETSTREAM=${value}: Coze Studio takes 'true' alone for yes; write true or false`)
}

function natsOptions(get: Get): NatsOptions {
  const replicas = get('NATS_STREAM_REPLICAS')
  if (replicas !== undefined && !/^[1-5]$/.test(replicas))
    throw new BusError('invalid_argument', `NATS_STREAM_REPLICAS=${replicas} must be 1, 3 or 5, and not more than the cluster has servers`)
  return {
    ...(jetstream(get) ? {} : { jetstream: false }),
    ...credentials(get),
    ...tlsOf(get, 'NATS'),
    ...(replicas === undefined ? {} : { replicas: Number(replicas) }),
  }
}

/** One way to say who we are: a JWT before a user before a token, as in Coze; then what Coze does not have. */
function credentials(get: Get): NatsOptions {
  const [jwt, nkey] = [get('NATS_JWT_TOKEN'), get('NATS_NKEY_SEED')]
  if (jwt !== undefined) return { jwt, ...(nkey === undefined ? {} : { nkey }) }
  const [user, password] = [get('NATS_USERNAME'), get('NATS_PASSWORD')]
  if (user !== undefined) return { user, ...(password === undefined ? {} : { password }) }
  if (password !== undefined) throw new BusError('invalid_argument', 'NATS_PASSWORD is set and NATS_USERNAME is not')
  const token = get('NATS_TOKEN')
  if (token !== undefined) return { token }
  const creds = get('NATS_CREDS')
  if (creds !== undefined) return { creds }
  return nkey === undefined ? {} : { nkey }
}
