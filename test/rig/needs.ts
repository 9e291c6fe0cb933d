import { describe } from 'vitest'
import { kafkaJars, kafkaVersion } from './kafka-server.ts'
import { natsServer, natsVersions } from './nats-server.ts'
import { nsqPrograms } from './nsq.ts'
import { pulsarProgram } from './pulsar.ts'
import { pulsarVersion } from './pulsar-server.ts'
import { rocketmqPrograms } from './rocketmq.ts'
import { rocketmqVersion } from './rocketmq-server.ts'

/**
 * `describe` for tests on a real nats-server, once for each version. Where a version cannot be had its tests are skipped and say why;
 * with CI=true that is a failure. Await it: the server is installed while tests are collected, which no test's time limit cuts short.
 */
export async function describeNats(
  title: string,
  body: (version: string) => void,
  versions: readonly string[] = natsVersions,
): Promise<void> {
  for (const version of versions)
    await describeWith(
      `nats-server ${version}`,
      () => natsServer(version),
      `${title} on nats-server ${version}`,
      () => body(version),
    )
}

/** The same for NSQ's daemons. */
export const describeNsq = (title: string, body: () => void): Promise<void> => describeWith('nsqd', nsqPrograms, title, body)

async function describeWith(what: string, install: () => Promise<unknown>, title: string, body: () => void | Promise<void>): Promise<void> {
  const missing = await install().then(
    () => undefined,
    (error: Error) => error.message.replace(/[()\s]+/g, ' '),
  )
  if (missing === undefined) describe(title, body)
  else if (process.env['CI'] === 'true') throw new Error(`${title} needs ${what}: ${missing}`)
  else describe.skip(`${title} (no ${what}: ${missing})`, body)
}

/** The same for a Kafka broker. */
export const describeKafka = (title: string, body: () => void | Promise<void>): Promise<void> =>
  describeWith(`Kafka ${kafkaVersion}`, kafkaJars, `${title} on Kafka ${kafkaVersion}`, body)

/** The same for a Pulsar broker. */
export const describePulsar = (title: string, body: () => void | Promise<void>): Promise<void> =>
  describeWith(`Pulsar ${pulsarVersion}`, pulsarProgram, `${title} on Pulsar ${pulsarVersion}`, body)

/** The same for RocketMQ. */
export const describeRocketmq = (title: string, body: () => void | Promise<void>): Promise<void> =>
  describeWith(`RocketMQ ${rocketmqVersion}`, rocketmqPrograms, `${title} on RocketMQ ${rocketmqVersion}`, body)
