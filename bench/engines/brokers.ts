import type { EngineOptions } from '../../src/engines/registry.ts'
import { startKafka } from '../../test/rig/kafka.ts'
import { kafkaVersion } from '../../test/rig/kafka-server.ts'
import { startNats } from '../../test/rig/nats.ts'
import { natsVersions } from '../../test/rig/nats-server.ts'
import { nsqVersion, startNsqd } from '../../test/rig/nsq.ts'
import { startPulsar } from '../../test/rig/pulsar.ts'
import { pulsarVersion } from '../../test/rig/pulsar-server.ts'
import { startRocketmq } from '../../test/rig/rocketmq.ts'
import { rocketmqVersion } from '../../test/rig/rocketmq-server.ts'

export interface Running extends AsyncDisposable {
  readonly url: string
  /** As its peer takes it. */
  readonly address: string
  readonly options?: EngineOptions
}

export interface Measured {
  /** The broker and its version. */
  readonly broker: string
  /** The client measured beside ours; a program of bench/peers by its name there, or a file of this folder. */
  readonly peer: { readonly title: string; readonly go?: string; readonly file?: string }
  start(): Promise<Running>
}

/** The engines with a broker, in the order of the page. */
export const brokers: Readonly<Record<string, Measured>> = {
  nats: {
    broker: `nats-server ${natsVersions[0]}`,
    peer: { title: 'nats.go 1.34.1', go: 'nats' },
    start: async () => {
      const server = await startNats({ version: natsVersions[0]! })
      return { url: server.url, address: new URL(server.url).host, [Symbol.asyncDispose]: () => server.stop() }
    },
  },
  nsq: {
    broker: `nsqd ${nsqVersion}`,
    peer: { title: 'go-nsq 1.1.0', go: 'nsq' },
    start: async () => {
      const server = await startNsqd()
      return {
        url: server.url,
        address: server.tcp,
        options: { nsq: { http: [server.http] } },
        [Symbol.asyncDispose]: () => server.stop(),
      }
    },
  },
  kafka: {
    broker: `Kafka ${kafkaVersion}`,
    peer: { title: '@platformatic/kafka 2.12.1', file: 'kafka-peer.ts' },
    start: async () => {
      const broker = await startKafka()
      // As many as its peer's topic has.
      const options = { kafka: { partitions: 1 } }
      return { url: broker.url, address: broker.address, options, [Symbol.asyncDispose]: () => broker.stop() }
    },
  },
  rocketmq: {
    broker: `RocketMQ ${rocketmqVersion}`,
    peer: { title: 'rocketmq-client-go 2.1.2', go: 'rocketmq' },
    start: async () => {
      const rocketmq = await startRocketmq()
      return { url: rocketmq.url, address: rocketmq.nameServer.address, [Symbol.asyncDispose]: () => rocketmq.stop() }
    },
  },
  pulsar: {
    broker: `Pulsar ${pulsarVersion}`,
    peer: { title: 'pulsar-client-go 0.16.0', go: 'pulsar' },
    start: async () => {
      const broker = await startPulsar()
      const options = { pulsar: { admin: broker.admin } }
      return { url: broker.url, address: broker.address, options, [Symbol.asyncDispose]: () => broker.stop() }
    },
  },
}
