// Before the tests: installs the servers they need, so that no compiler runs beside a test that watches the clock.
import { join } from 'node:path'
import { goProgram } from '../coze/go-program.ts'
import { kafkaJars } from './kafka-server.ts'
import { natsServer, natsVersions } from './nats-server.ts'
import { nsqPrograms } from './nsq.ts'

for (const version of natsVersions)
  await natsServer(version).catch((error: Error) => process.stderr.write(`no nats-server ${version}: ${error.message}\n`))
await nsqPrograms().catch((error: Error) => process.stderr.write(`no nsqd: ${error.message}\n`))
for (const folder of ['coze/go', 'coze/go-nsq', 'kafka/go'])
  await goProgram(join(import.meta.dirname, '..', folder)).catch((error: Error) =>
    process.stderr.write(`no Go program test/${folder}: ${error.message}\n`),
  )
await kafkaJars().catch((error: Error) => process.stderr.write(`no Kafka: ${error.message}\n`))
