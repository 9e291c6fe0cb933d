import { setTimeout as sleep } from 'node:timers/promises'
import type { NsqNode } from '../rig/nsq.ts'
import type { Broker } from './rounds.ts'

/**
 * An nsqd that is told to end, which has it write down what it holds, and started again. Killed it loses, of what it has
 * confirmed, what was in its memory: that is its durability, and test/nsq/crash.test.ts shows how much it is.
 */
export const nsqBroker = (node: NsqNode): Broker => ({
  url: node.url,
  options: { nsq: { http: [node.http] } },
  replicas: 1,
  needsLedger: true,
  forgetsMs: 0,
  losesLeases: true,
  unordered: true,
  unanswered: true,
  async strike() {
    await sleep(1000) // there is to be something else in a round
    await node.restart()
    await sleep(1000)
  },
})
