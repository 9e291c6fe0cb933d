import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { startProxy, type TcpProxy } from '../rig/proxy.ts'
import { eager } from './support.ts'

await describeKafka('closing while the broker says nothing', () => {
  let broker: KafkaNode
  let proxy: TcpProxy
  beforeAll(async () => {
    const target = { port: 0 }
    proxy = await startProxy(target)
    // The broker sends its clients through the proxy.
    broker = await startKafka({ advertised: proxy.port })
    target.port = broker.port
  }, 90_000)
  afterAll(async () => {
    await proxy.close()
    await broker.stop()
  })

  const through = async (): Promise<Bus> => {
    const bus = await connect(`kafka://127.0.0.1:${proxy.port}`, { kafka: eager, drain: 500, ledger: 'memory:' })
    onTestFinished(async () => {
      proxy.set({ blackhole: false })
      await bus.close()
    })
    return bus
  }

  // 15 s: for one answer.
  test('R9: a member is gone after the time it has to drain, and a little', async () => {
    const bus = await through()
    const got: unknown[] = []
    await bus.subscribe('silent', { group: 'g' }, ({ body }) => void got.push(body))
    await bus.subscribe('silent', ({ body }) => void got.push(body))
    await bus.publish('silent', 1)
    await expect.poll(() => got.length).toBe(2)
    proxy.set({ blackhole: true })
    const begun = performance.now()
    await bus.close()
    expect(performance.now() - begun).toBeLessThan(10_000)
  }, 60_000)

  test('R9: also with work that ends meanwhile, whose end cannot be committed', async () => {
    const bus = await through()
    const gate = Promise.withResolvers<void>()
    let begun = 0
    await bus.subscribe('ending', { group: 'g' }, async () => {
      begun++
      await gate.promise
    })
    await bus.publish('ending', 1)
    await expect.poll(() => begun).toBe(1)
    proxy.set({ blackhole: true })
    gate.resolve()
    const closedAt = performance.now()
    await bus.close()
    expect(performance.now() - closedAt).toBeLessThan(20_000)
  }, 60_000)

  test('R9: also while a member is joining', async () => {
    const bus = await through()
    await bus.publish('joining', 1)
    proxy.set({ blackhole: true })
    const subscribing = bus.subscribe('joining', { group: 'g' }, () => {}).catch((error: { code: string }) => error.code)
    const closedAt = performance.now()
    await bus.close()
    expect(performance.now() - closedAt).toBeLessThan(20_000)
    expect(await subscribing).toMatch(/closed|engine_unavailable/)
  }, 60_000)
})
