import type { EngineOptions } from '../engines/registry.ts'
import type { CozeConfig } from './environment.ts'
import { sharedTopic } from './names.ts'

/** What {@link connect} takes for a Coze configuration; `groups`: of topics that are not Coze's own. */
export function connectionOf(
  config: CozeConfig,
  groups: (topic: string) => readonly string[] = () => [],
): { url: string; options: EngineOptions & { readonly ledger?: string } } {
  if (config.type === 'nsq') {
    const { url, nsq, ledger } = config
    return { url, options: { nsq: { raw: isFlat, ...nsq }, ...(ledger === undefined ? {} : { ledger }) } }
  }
  // Every topic of Coze's is written by Go too, and a key is to be in one partition whoever writes it.
  if (config.type === 'kafka') return { url: config.url, options: { kafka: { partitioner: 'fnv1a' } } }
  if (config.type === 'rmq') {
    const { nameServers, accessKey, secretKey, ledger } = config
    const keys = accessKey === undefined || secretKey === undefined ? {} : { accessKey, secretKey }
    // Go services may be in the group of any topic.
    return {
      url: `rocketmq://${nameServers.join(',')}`,
      options: { rocketmq: { shared: isFlat, ...keys }, ...(ledger === undefined ? {} : { ledger }) },
    }
  }
  if (config.type === 'pulsar') {
    const { url, pulsar, ledger } = config
    return { url, options: { pulsar, ...(ledger === undefined ? {} : { ledger }) } }
  }
  return { url: config.url, options: { nats: { shared: (topic) => sharedTopic(topic, groups(topic)), ...config.nats } } }
}

/** Bodies alone, as Go writes them: but for the guide's families, whose parameters have to be somewhere. */
export function isFlat(storage: string): boolean {
  return !storage.includes('*')
}
