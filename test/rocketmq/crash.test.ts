import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openRocketmq } from '../../src/engines/rocketmq/engine.ts'
import { crashRounds } from '../crash/rounds.ts'
import type { Load } from '../nats/load.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { eager } from './support.ts'

await describeRocketmq('a broker that dies', () => {
  let brokers: RocketmqCluster
  let load: Load | undefined
  beforeAll(async () => {
    brokers = await startRocketmq()
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => brokers.stop())

  test('with processes that are killed too: nothing is lost, out of order, in two hands or tried for ever', async () => {
    const strike = async (): Promise<void> => {
      await sleep(2000) // processes take their time to start
      await brokers.restart()
      await sleep(2000)
    }
    const outcome = await crashRounds(2, 20_250_102, undefined, { url: brokers.url, replicas: 1, needsLedger: true, strike })
    expect(outcome.violations).toEqual([])
    expect(outcome.confirmed).toBeGreaterThan(30)
    expect(outcome.kills).toBeGreaterThan(4)
  }, 180_000)
})
