// Before the tests: installs what they need, all of it or that of the engines named, so that no compiler runs beside a test that watches the clock.
import { join } from 'node:path'
import { goProgram } from '../coze/go-program.ts'
import { kafkaJars } from './kafka-server.ts'
import { natsCli, natsServer, natsVersions } from './nats-server.ts'
import { nsqPrograms } from './nsq.ts'
import { pulsarProgram } from './pulsar.ts'
import { rocketmqPrograms } from './rocketmq.ts'

const go = (folder: string) => (): Promise<unknown> => goProgram(join(import.meta.dirname, '..', folder))

const needs: Readonly<Record<string, Readonly<Record<string, () => Promise<unknown>>>>> = {
  embedded: {},
  nats: {
    ...Object.fromEntries(natsVersions.map((version) => [`nats-server ${version}`, () => natsServer(version)])),
    'nats CLI': natsCli,
    'Go program test/coze/go': go('coze/go'),
  },
  nsq: { nsqd: nsqPrograms, 'Go program test/coze/go-nsq': go('coze/go-nsq') },
  kafka: { Kafka: kafkaJars, 'Go program test/kafka/go': go('kafka/go') },
  rocketmq: { RocketMQ: rocketmqPrograms, 'Go program test/coze/go-rmq': go('coze/go-rmq') },
  pulsar: { Pulsar: pulsarProgram, 'Go program test/coze/go-pulsar': go('coze/go-pulsar') },
}

const asked = process.argv.slice(2)
for (const engine of asked.length > 0 ? asked : Object.keys(needs))
  for (const [what, install] of Object.entries(needs[engine] ?? {}))
    await install().catch((error: Error) => process.stderr.write(`no ${what}: ${error.message}\n`))
