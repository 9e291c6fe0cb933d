import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaNode } from '../rig/kafka.ts'
import type { NsqNode } from '../rig/nsq.ts'
import type { PulsarNode } from '../rig/pulsar.ts'
import { forgetsMs, type RocketmqCluster } from '../rig/rocketmq.ts'
import type { Broker } from './rounds.ts'

/** It, and processes, take their time to come back: there is to be something else in a round. */
function restarting(node: { restart(): Promise<void> }, quietMs: number): Broker['strike'] {
  return async () => {
    await sleep(quietMs)
    await node.restart()
    await sleep(quietMs)
  }
}

// `quietMs`: before and after each restart.

export const kafkaBroker = (node: KafkaNode, quietMs: number): Broker => ({ url: node.url, replicas: 1, strike: restarting(node, quietMs) })

export const rocketmqBroker = (brokers: RocketmqCluster, quietMs: number): Broker => ({
  url: brokers.url,
  replicas: 1,
  needsLedger: true,
  forgetsMs,
  strike: restarting(brokers, quietMs),
})

/** Its members take by POP: a broker that was killed forgets who has what. */
export const rocketmqWithoutOrder = (brokers: RocketmqCluster, quietMs: number): Broker => ({
  ...rocketmqBroker(brokers, quietMs),
  unordered: true,
  losesLeases: true,
  copiesRetries: true,
})

export const pulsarBroker = (node: PulsarNode, quietMs: number): Broker => ({
  url: node.url,
  options: { pulsar: { admin: node.admin } },
  replicas: 1,
  needsLedger: true,
  forgetsMs: 0,
  strike: restarting(node, quietMs),
})

/**
 * An nsqd that is told to end, which has it write down what it holds, and started again. Killed it loses, of what it has
 * confirmed, what was in its memory: that is its durability, and test/nsq/crash.test.ts shows how much it is.
 */
export const nsqBroker = (node: NsqNode, quietMs: number): Broker => ({
  url: node.url,
  options: { nsq: { http: [node.http] } },
  replicas: 1,
  needsLedger: true,
  forgetsMs: 0,
  losesLeases: true,
  unordered: true,
  unanswered: true,
  strike: restarting(node, quietMs),
})
