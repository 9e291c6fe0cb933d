import type { EngineOptions } from '../engines/registry.ts'
import { BusError } from '../errors.ts'
import type { CozeConfig } from './environment.ts'
import { sharedTopic } from './names.ts'

const brokers = { nsq: 'NSQ', rmq: 'RocketMQ', pulsar: 'Pulsar' } as const

/** What {@link connect} takes for a Coze configuration; `groups`: of topics that are not Coze's own. @throws BusError `engine_missing` */
export function connectionOf(
  config: CozeConfig,
  groups: (topic: string) => readonly string[] = () => [],
): { url: string; options: EngineOptions } {
  // Every topic of Coze's is written by Go too, and a key is to be in one partition whoever writes it.
  if (config.type === 'kafka') return { url: config.url, options: { kafka: { partitioner: 'fnv1a' } } }
  if (config.type !== 'nats')
    throw new BusError(
      'engine_missing',
      `COZE_MQ_TYPE=${config.type}: this version has no engine for ${brokers[config.type]} yet; those for NATS and Kafka are there (COZE_MQ_TYPE=nats, kafka)`,
    )
  return { url: config.url, options: { nats: { shared: (topic) => sharedTopic(topic, groups(topic)), ...config.nats } } }
}
