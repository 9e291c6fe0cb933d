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

  const through = async (ledger: { ledger?: string }): Promise<Bus> => {
    const bus = await connect(`kafka://127.0.0.1:${proxy.port}`, { kafka: eager, drain: 500, ...ledger })
    onTestFinished(async () => {
      proxy.set({ blackhole: false })
      await bus.close()
    })
    return bus
  }

  const ledgers = [
    ['the ledger there', {}],
    ['a ledger elsewhere', { ledger: 'memory:' }],
  ] as const

  // 15 s: for one answer.
  test.each(ledgers)(
    'R9: a member is gone after the time it has to drain, and a little (%s)',
    async (_, ledger) => {
      const bus = await through(ledger)
      const topic = crypto.randomUUID()
      const got: unknown[] = []
      await bus.subscribe(topic, { group: 'g' }, ({ body }) => void got.push(body))
      await bus.subscribe(topic, ({ body }) => void got.push(body))
      await bus.publish(topic, 1)
      await expect.poll(() => got.length).toBe(2)
      proxy.set({ blackhole: true })
      const begun = performance.now()
      await bus.close()
      expect(performance.now() - begun).toBeLessThan(10_000)
    },
    60_000,
  )

  test.each(ledgers)(
    'R9: also with work that ends meanwhile, whose end cannot be committed (%s)',
    async (_, ledger) => {
      const bus = await through(ledger)
      const topic = crypto.randomUUID()
      const gate = Promise.withResolvers<void>()
      let begun = 0
      await bus.subscribe(topic, { group: 'g' }, async () => {
        begun++
        await gate.promise
      })
      await bus.publish(topic, 1)
      await expect.poll(() => begun).toBe(1)
      proxy.set({ blackhole: true })
      gate.resolve()
      const closedAt = performance.now()
      await bus.close()
      expect(performance.now() - closedAt).toBeLessThan(14_000)
    },
    60_000,
  )

  test.each(ledgers)(
    'R9: also while a member is joining (%s)',
    async (_, ledger) => {
      const bus = await through(ledger)
      const topic = crypto.randomUUID()
      await bus.publish(topic, 1)
      proxy.set({ blackhole: true })
      const subscribing = bus.subscribe(topic, { group: 'g' }, () => {}).catch((error: { code: string }) => error.code)
      const closedAt = performance.now()
      await bus.close()
      expect(performance.now() - closedAt).toBeLessThan(20_000)
      expect(await subscribing).toMatch(/closed|engine_unavailable/)
    },
    60_000,
  )
})
