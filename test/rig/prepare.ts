// Before the tests: installs the servers they need, so that no compiler runs beside a test that watches the clock.
import { goProgram } from '../coze/go-program.ts'
import { natsServer, natsVersions } from './nats-server.ts'
import { nsqPrograms } from './nsq.ts'

for (const version of natsVersions)
  await natsServer(version).catch((error: Error) => process.stderr.write(`no nats-server ${version}: ${error.message}\n`))
await nsqPrograms().catch((error: Error) => process.stderr.write(`no nsqd: ${error.message}\n`))
for (const name of ['go', 'go-nsq'] as const)
  await goProgram(name).catch((error: Error) =>
    process.stderr.write(`no Go program for test/coze: ${error.message}
`),
  )
