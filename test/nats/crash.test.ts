import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { Load } from './load.ts'

await describeNats('a server that dies', (version) => {
  let server: NatsNode
  let load: Load | undefined
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterEach(() => load?.end())
  afterAll(() => server.stop())

  test.each([false, true])(
    'by SIGKILL, at random under load: nothing confirmed is lost, no key out of order (partitions: %s)',
    async (partitioned) => {
      load = new Load(() => server.url, { partitioned })
      await load.join(3)
      await load.start()
      for (let round = 0; round < 3; round++) {
        await load.calm(150 + Math.random() * 300)
        await server.kill()
        await server.start()
        await load.recovered()
      }
      const counts = await load.judge()
      expect(counts.confirmed).toBeGreaterThan(100)
    },
    60_000,
  )

  test('the connection drops fifty times, in the middle of what it carries', async () => {
    await using proxy = await startProxy(server.port)
    load = new Load(() => `nats://127.0.0.1:${proxy.port}`, { reconnectWaitMs: 10, reconnectJitterMs: 10 })
    await load.join(2)
    await load.start()
    await load.recovered()
    for (let drop = 0; drop < 50; drop++) {
      proxy.cutAfter(1 + Math.floor(Math.random() * 4000), drop % 2 === 0 ? 'down' : 'up')
      await load.calm(60)
    }
    await load.recovered()
    const counts = await load.judge()
    expect(counts.confirmed).toBeGreaterThan(300)
  }, 60_000)
})
