import { expect, onTestFinished } from 'vitest'
import { type Bus, type ConnectOptions, connect } from '../../src/bus.ts'
import type { RocketmqOptions } from '../../src/engines/rocketmq/options.ts'
import { BusError } from '../../src/errors.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import type { RocketmqSettings } from '../rig/rocketmq-config.ts'

/** For tests that wait for members to come and go, and for reconnects. */
export const eager: RocketmqOptions = {
  queues: 4,
  handoverMs: 500,
  reconnectWaitMs: 20,
  reconnectMaxWaitMs: 200,
  connectTimeoutMs: 3000,
  routeMs: 1000,
}

/** Brokers that are gone after the test. */
export async function rocketmq(settings: RocketmqSettings = {}): Promise<RocketmqCluster> {
  const cluster = await startRocketmq(settings)
  onTestFinished(() => cluster.stop())
  return cluster
}

/** A bus that is closed after the test, with its ledger in memory. */
export async function busAt(url: string, options: RocketmqOptions = {}, connecting: ConnectOptions = {}): Promise<Bus> {
  const bus = await connect(url, { ledger: memoryLedger(), drain: 2000, rocketmq: { ...eager, ...options }, ...connecting })
  onTestFinished(() => bus.close())
  return bus
}

export async function roundTrip(bus: Bus, topic = `round.${crypto.randomUUID().slice(0, 8)}`): Promise<void> {
  const got = Promise.withResolvers<unknown>()
  const work = await bus.subscribe(topic, { group: 'g' }, (message) => got.resolve(message.body))
  await bus.publish(topic, { hello: topic })
  expect(await got.promise).toEqual({ hello: topic })
  await work.close()
}

/** The error with which connecting fails; the bus is closed where it does not. */
export async function refusal(url: string, options: RocketmqOptions = {}): Promise<BusError> {
  const thrown = await connect(url, { ledger: memoryLedger(), rocketmq: { ...eager, ...options } }).then(
    async (bus) => {
      await bus.close()
      return new Error('it connected')
    },
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BusError)
  return thrown as BusError
}
