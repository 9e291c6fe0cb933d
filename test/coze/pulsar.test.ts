// Coze Studio's services on Pulsar by their variables: beside Go, and the defects of the Go bus there that ours does not have.
import { afterAll, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { type CozeConfig, configFromEnv, createProducer, registerConsumer } from '../../src/coze/index.ts'
import { describePulsar } from '../rig/needs.ts'
import { temporaryFolder } from '../rig/orphans.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { goService } from './go-service.ts'
import { closing, text } from './support.ts'

const go = await goService('go-pulsar')
const { path: folder, remove } = temporaryFolder('coze-pulsar')
afterAll(remove)
let tests = 0

await describePulsar('by the variables of Coze Studio', async () => {
  const broker = await startPulsar({ tokens: { superusers: ['coze'] } })
  afterAll(() => broker.stop())
  const token = broker.token('coze')
  const args = ['-token', token]
  const fresh = (): { topic: string; config: CozeConfig } => ({
    topic: `shared_${++tests}`,
    config: configFromEnv({
      COZE_MQ_TYPE: 'pulsar',
      MQ_NAME_SERVER: broker.address,
      PULSAR_JWT_TOKEN: token,
      COZEBUS_LEDGER: `file:${folder}/${tests}`,
    }),
  })

  test('P6: an address without a scheme, as in .env.example, and the list of the guide', () => {
    const url = (server: string) => (configFromEnv({ COZE_MQ_TYPE: 'pulsar', MQ_NAME_SERVER: server }) as { url: string }).url
    expect(url('pulsar:6650')).toBe('pulsar://pulsar:6650')
    expect(url('pulsar://b1:6650,pulsar://b2:6650')).toBe('pulsar://b1:6650,b2:6650')
  })

  test.skipIf(go.missing !== undefined)('Go sends, ours reads; ours sends, Go reads', async () => {
    const { topic, config } = fresh()
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'ours', ({ body }) => void got.push(text(body))))
    const reader = await go.reads(broker.url, topic, 'theirs', { args })
    await go.sends(broker.url, topic, { key: '7', body: '{"n":%d}', count: 3, args })
    await expect.poll(() => got).toEqual(['{"n":0}', '{"n":1}', '{"n":2}'])
    const producer = await closing(createProducer(config, topic, 'ours'))
    await producer.send('{"n":3}', { shardingKey: 'doc' })
    await producer.batchSend(['a', 'b'])
    await expect.poll(() => reader.lines.map(({ body }) => body).sort()).toEqual(['a', 'b', '{"n":0}', '{"n":1}', '{"n":2}', '{"n":3}'])
    expect(reader.lines.find(({ body }) => body === '{"n":3}')?.key).toBe('doc')
  })

  test('P1: a second replica of a service joins and shares the work', async () => {
    const { topic, config } = fresh()
    const by: [string[], string[]] = [[], []]
    for (const mine of by)
      await closing(
        registerConsumer(config, topic, 'cg', async ({ body }) => {
          await new Promise((resolve) => setTimeout(resolve, 5))
          mine.push(text(body))
        }),
      )
    const producers = [await closing(createProducer(config, topic, 'cg')), await closing(createProducer(config, topic, 'cg'))]
    await Promise.all(producers.map((one, i) => one.batchSend(Array.from({ length: 100 }, (_, n) => `${i}-${n}`))))
    await expect.poll(() => by[0].length + by[1].length, { timeout: 15_000 }).toBe(200)
    expect(new Set(by.flat()).size).toBe(200)
    for (const mine of by) expect(mine.length).toBeGreaterThan(0)
  }, 30_000)

  test('P5: a handler that throws ends nothing: what comes after it is handled', async () => {
    const { topic, config } = fresh()
    const got: string[] = []
    const handler = ({ body }: { body: Uint8Array }): void => {
      if (text(body) === 'bad') throw new Error('panic')
      got.push(text(body))
    }
    await closing(registerConsumer(config, topic, 'cg', handler, { retry: { attempts: 2, initial: 20, jitter: 'none' } }))
    const producer = await closing(createProducer(config, topic, 'cg'))
    await producer.batchSend(['bad', 'good', 'better'])
    await expect.poll(() => got.sort()).toEqual(['better', 'good'])
  })

  test('the knowledge topic keeps its name on the broker', async () => {
    const { config } = fresh()
    const producer = await closing(createProducer(config, 'opencoze_knowledge', 'cg_knowledge'))
    await producer.send('{}', { shardingKey: '1' })
    expect(await broker.ask('/admin/v2/persistent/public/default')).toContain('persistent://public/default/opencoze_knowledge')
  })

  test('connect() without an address takes the variables', async () => {
    const before = { ...process.env }
    try {
      Object.assign(process.env, { COZE_MQ_TYPE: 'pulsar', MQ_NAME_SERVER: broker.address, PULSAR_JWT_TOKEN: token })
      process.env['COZEBUS_LEDGER'] = `file:${folder}/connect`
      delete process.env['COZEBUS_URL']
      await using bus = await connect()
      expect(bus.status().engine).toBe('pulsar')
      // Beside what is said in the program.
      await using packed = await connect({ pulsar: { compression: 'zstd' } })
      await packed.publish('opencoze_knowledge', 'x'.repeat(1000))
    } finally {
      process.env = before
    }
  })
})
