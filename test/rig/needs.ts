import { describe } from 'vitest'
import { kafkaJars, kafkaVersion } from './kafka-server.ts'
import { natsServer, natsVersions } from './nats-server.ts'

/**
 * `describe` for tests on a real nats-server, once for each version. Where a version cannot be had its tests are skipped and say why;
 * with CI=true that is a failure. Await it: the server is installed while tests are collected, which no test's time limit cuts short.
 */
export async function describeNats(
  title: string,
  body: (version: string) => void,
  versions: readonly string[] = natsVersions,
): Promise<void> {
  for (const version of versions) {
    const missing = await reason(natsServer(version))
    if (missing === undefined) describe(`${title} on nats-server ${version}`, () => body(version))
    else if (process.env['CI'] === 'true') throw new Error(`${title} needs nats-server ${version}: ${missing}`)
    else describe.skip(`${title} (no nats-server ${version}: ${missing})`, () => body(version))
  }
}

/** The same for tests on a real Kafka broker. */
export async function describeKafka(title: string, body: () => void | Promise<void>): Promise<void> {
  const missing = await reason(kafkaJars())
  if (missing === undefined) describe(`${title} on Kafka ${kafkaVersion}`, body)
  else if (process.env['CI'] === 'true') throw new Error(`${title} needs Kafka ${kafkaVersion}: ${missing}`)
  else describe.skip(`${title} (no Kafka ${kafkaVersion}: ${missing})`, body)
}

/** What is missing on this machine; undefined when nothing is. */
const reason = (installing: Promise<unknown>): Promise<string | undefined> =>
  installing.then(
    () => undefined,
    (error: Error) => error.message.replace(/[()\s]+/g, ' '),
  )
