// Before the tests: installs the servers they need, so that no compiler runs beside a test that watches the clock.
import { goProgram } from '../coze/go-program.ts'
import { kafkaJars } from './kafka-server.ts'
import { natsServer, natsVersions } from './nats-server.ts'

for (const version of natsVersions)
  await natsServer(version).catch((error: Error) => process.stderr.write(`no nats-server ${version}: ${error.message}\n`))
await goProgram().catch((error: Error) => process.stderr.write(`no Go program for test/coze: ${error.message}\n`))
await kafkaJars().catch((error: Error) => process.stderr.write(`no Kafka: ${error.message}\n`))
