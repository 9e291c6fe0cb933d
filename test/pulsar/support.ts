import { expect, onTestFinished } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import type { PulsarOptions } from '../../src/engines/pulsar/options.ts'
import { BusError } from '../../src/errors.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'

/** For tests that wait for reconnects. */
export const eager: PulsarOptions = { reconnectWaitMs: 20, reconnectMaxWaitMs: 200, connectTimeoutMs: 3000, returnMs: 3000 }

/** A bus that is closed after the test, with its ledger in memory. */
export async function busAt(url: string, pulsar: PulsarOptions = {}): Promise<Bus> {
  const bus = await connect(url, { ledger: memoryLedger(), drain: 2000, pulsar: { ...eager, ...pulsar } })
  onTestFinished(() => bus.close())
  return bus
}

let topics = 0
export const fresh = (what = 'topic'): string => `${what}_${++topics}`

export async function roundTrip(bus: Bus, topic = fresh('round')): Promise<void> {
  const got = Promise.withResolvers<unknown>()
  const work = await bus.subscribe(topic, { group: 'g' }, (message) => got.resolve(message.body))
  await bus.publish(topic, { hello: topic })
  expect(await got.promise).toEqual({ hello: topic })
  await work.close()
}

/** Connects, publishes, receives in a group, closes. */
export async function works(url: string, pulsar: PulsarOptions = {}): Promise<void> {
  await using bus = await connect(url, { ledger: memoryLedger(), pulsar: { ...eager, ...pulsar } })
  await roundTrip(bus)
}

/** The error with which connecting, or the first use, fails. */
export async function refusal(url: string, pulsar: PulsarOptions = {}): Promise<BusError> {
  const thrown = await works(url, pulsar).then(
    () => new Error('it works'),
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BusError)
  return thrown as BusError
}
