// A worker of the test below: one of its messages kills it.
import { connect } from '../../src/index.ts'

const bus = await connect(process.argv[2]!)
await bus.subscribe('deadly', { group: 'g', concurrency: 8, retry: { crashes: 3 } }, async (message: { body: { deadly: boolean } }) => {
  // Long enough that all of them run when the deadly one strikes.
  await new Promise((resolve) => setTimeout(resolve, message.body.deadly ? 150 : 300))
  if (message.body.deadly) process.kill(process.pid, 'SIGKILL')
})
