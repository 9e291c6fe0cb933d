import { expect } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import type { KafkaOptions } from '../../src/engines/kafka/options.ts'
import { BusError } from '../../src/errors.ts'

/** For tests that wait for members to come and go. */
export const eager: KafkaOptions = { partitions: 4, handoverMs: 500, sessionTimeoutMs: 6000, connectTimeoutMs: 3000 }

/** Connects, publishes, receives in a group, closes. */
export async function works(url: string, kafka: KafkaOptions = {}): Promise<void> {
  await using bus = await connect(url, { kafka: { ...eager, ...kafka } })
  await roundTrip(bus)
}

export async function roundTrip(bus: Bus, topic = `round.${crypto.randomUUID()}`): Promise<void> {
  const got = Promise.withResolvers<unknown>()
  const work = await bus.subscribe(topic, { group: `g-${crypto.randomUUID()}` }, (message) => got.resolve(message.body))
  await bus.publish(topic, { hello: topic })
  expect(await got.promise).toEqual({ hello: topic })
  await work.close()
}

/** The error with which connecting fails; the bus is closed where it does not. */
export async function refusal(url: string, kafka: KafkaOptions = {}): Promise<BusError> {
  const thrown = await connect(url, { kafka: { ...eager, ...kafka } }).then(
    async (bus) => {
      await bus.close()
      return new Error('it connected')
    },
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(BusError)
  return thrown as BusError
}
