import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { startKafka } from './kafka.ts'
import { describeKafka } from './needs.ts'

await describeKafka('the rig', () => {
  test('a broker answers, dies by SIGKILL, and comes back on its port with its data', async () => {
    await using broker = await startKafka()
    const { port } = broker
    await broker.kill()
    const refused = await new Promise((resolve) =>
      connect(port, '127.0.0.1')
        .once('error', () => resolve(true))
        .once('connect', () => resolve(false)),
    )
    expect(refused).toBe(true)
    await broker.start()
    expect(broker.port).toBe(port)
  }, 90_000)
})
