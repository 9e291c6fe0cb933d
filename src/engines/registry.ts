import { BusError } from '../errors.ts'
import type { Engine, Finding } from './engine.ts'
import type { KafkaOptions } from './kafka/options.ts'
import type { NatsOptions } from './nats/options.ts'
import type { NsqOptions } from './nsq/options.ts'
import type { PulsarOptions } from './pulsar/options.ts'
import type { RocketmqOptions } from './rocketmq/options.ts'

/** A broker's own options, under its name. */
export interface EngineOptions {
  readonly nats?: NatsOptions
  readonly nsq?: NsqOptions
  readonly kafka?: KafkaOptions
  readonly pulsar?: PulsarOptions
  readonly rocketmq?: RocketmqOptions
  readonly embedded?: {
    /** How long the same id is stored once, ms. Default 10 minutes. */
    readonly dedupeWindowMs?: number
    /** The most bytes of bodies the store holds; publishing past it is refused. Default: no limit but the disk. */
    readonly maxBytes?: number
    /** How long messages are kept after every group has settled them, ms. Default 7 days. */
    readonly historyMs?: number
  }
}

/** Whose options there are; the compiler sees to it that none is missing. */
export const optionNames = Object.keys({
  nats: true,
  nsq: true,
  kafka: true,
  rocketmq: true,
  pulsar: true,
  embedded: true,
} satisfies Record<keyof EngineOptions, true>) as (keyof EngineOptions)[]

/** Of each engine what stands in `over`, and beside it what stands in `under` alone. */
export function mergeOptions(under: EngineOptions, over: EngineOptions): EngineOptions {
  return Object.fromEntries(optionNames.map((name) => [name, { ...under[name], ...over[name] }]))
}

type Open = (url: string, options: EngineOptions) => Promise<Engine>

const nats: Open = async (url, options) => (await import('./nats/engine.ts')).openNats(url, options.nats)
const nsq: Open = async (url, options) => (await import('./nsq/engine.ts')).openNsq(url, options.nsq)
const kafka: Open = async (url, options) => (await import('./kafka/engine.ts')).openKafka(url, options.kafka)

const pulsar: Open = async (url, options) => (await import('./pulsar/engine.ts')).openPulsar(url, options.pulsar)

/** A scheme of a URL to the engine that serves it; each is imported only when used. */
const engines: Readonly<Record<string, Open>> = {
  file: async (url, options) =>
    (await import('./embedded/engine.ts')).openEmbedded({ dir: url.slice('file:'.length).replace(/^\/\/(?=\/)/, ''), ...options.embedded }),
  ...Object.fromEntries(['nats', 'tls', 'ws', 'wss', 'nats+context'].map((scheme) => [scheme, nats])),
  nsq,
  'nsq+lookup': nsq,
  ...Object.fromEntries(['kafka', 'kafka+ssl'].map((scheme) => [scheme, kafka])),
  rocketmq: async (url, options) => (await import('./rocketmq/engine.ts')).openRocketmq(url, options.rocketmq),
  ...Object.fromEntries(['pulsar', 'pulsar+ssl'].map((scheme) => [scheme, pulsar])),
  memory: async (_url, options) => (await import('./embedded/engine.ts')).openEmbedded({ dir: undefined, ...options.embedded }),
}

/** @throws BusError `invalid_argument` for a URL no engine serves */
export async function openEngine(url: string, options: EngineOptions): Promise<Engine> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase()
  const open = scheme === undefined ? undefined : engines[scheme]
  if (!open)
    throw new BusError(
      'invalid_argument',
      `no engine serves '${url.replace(/^.*@/s, '…@')}'; use ${Object.keys(engines)
        .map((name) => `${name}:`)
        .join(' or ')}, for example file:./.cozebus`,
    )
  return open(url, options)
}

/** Goes to the broker step by step, for one that cannot be reached. Nothing for an engine without a way to go. */
export async function examineWay(url: string, options: EngineOptions): Promise<readonly Finding[]> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? ''
  if (engines[scheme] !== nats) return []
  return (await import('./nats/doctor/way.ts')).examineWay(url, options.nats)
}
