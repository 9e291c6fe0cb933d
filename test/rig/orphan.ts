// A test's process that is killed: starts a server, says where, and never ends of its own.
import { startNats } from './nats.ts'

const { pid, dir } = await startNats()
process.stdout.write(`${JSON.stringify({ pid, dir })}\n`)
setInterval(() => {}, 1000)
