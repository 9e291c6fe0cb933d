import { afterAll, expect, test } from 'vitest'
import { createProducer, knowledgeTopic, registerConsumer } from '../../src/coze/index.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { closing, configFor, goReads, goSends, look, noGo, text } from './support.ts'

await describeNats(`beside Go services${noGo === undefined ? '' : ` (${noGo})`}`, async (version) => {
  if (noGo !== undefined) {
    test.skip(`beside Go services (${noGo})`)
    return
  }
  const server = await startNats({ version })
  afterAll(() => server.stop())
  const config = configFor(server)
  let tests = 0
  const fresh = (): string => `shared_${version.replaceAll('.', '_')}_${++tests}`

  test('Go sends, ours reads: body, key and an id of its own each', async () => {
    const topic = fresh()
    const got: { id: string; key: string | undefined; body: string }[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ id, key, body }) => void got.push({ id, key, body: text(body) })))
    await goSends(server, topic, { key: '7621099543744036864', body: 'a' })
    await goSends(server, topic, { key: '7621099543744036865', body: 'b' })
    await goSends(server, topic, { body: 'c' })
    await expect.poll(() => got.map(({ body }) => body)).toEqual(['a', 'b', 'c'])
    expect(got.map(({ key }) => key)).toEqual(['7621099543744036864', '7621099543744036865', undefined])
    expect(new Set(got.map(({ id }) => id)).size).toBe(3)
  })

  test('ours sends, Go reads', async () => {
    const topic = fresh()
    const go = await goReads(server, topic, 'cg')
    const producer = await closing(createProducer(config, topic, 'cg'))
    for (let i = 0; i < 5; i++) await producer.send(`{"n":${i}}`, { shardingKey: 'one' })
    await expect.poll(() => go.lines.map(({ body }) => body)).toEqual(Array.from({ length: 5 }, (_, i) => `{"n":${i}}`))
  })

  for (const first of ['Go', 'ours'] as const)
    test(`one group of both, the stream made by ${first}: each message is handled once, and both get some`, async () => {
      const topic = fresh()
      const ours: string[] = []
      const join = () =>
        closing(
          registerConsumer(config, topic, 'cg', async ({ body }) => {
            await new Promise((resolve) => setTimeout(resolve, 5))
            ours.push(text(body))
          }),
        )
      if (first === 'ours') await join()
      const go = await goReads(server, topic, 'cg', { workMs: 5 })
      if (first === 'Go') await join()
      const producer = await closing(createProducer(config, topic, 'cg'))
      await Promise.all([
        goSends(server, topic, { body: 'go-%d', count: 40 }),
        producer.batchSend(Array.from({ length: 40 }, (_, i) => `ts-${i}`)),
      ])
      const all = (): string[] => [...ours, ...go.lines.map(({ body }) => body!)]
      await expect.poll(() => all().length).toBe(80)
      expect(new Set(all()).size).toBe(80)
      expect(ours.length).toBeGreaterThan(0)
      expect(go.lines.length).toBeGreaterThan(0)
      const { config: stream } = await (await look(server)).streams.info(`${topic}_STREAM`)
      // What was there is left as it is.
      expect(stream.max_msgs).toBe(first === 'Go' ? 1_000_000 : -1)
    })

  test('a Go member leaves its durable to the group, and ours goes on where it stood', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const go = await goReads(server, topic, 'cg')
    await producer.batchSend(['1', '2', '3'])
    await expect.poll(() => go.lines.length).toBe(3)
    await go.stop()
    await producer.batchSend(['4', '5'])
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ body }) => void got.push(text(body))))
    await expect.poll(() => got).toEqual(['4', '5'])
  })

  test('N1: ten sends of Go with one key are ten messages on the stream that ours made first', async () => {
    // 100 ms is the shortest window a server takes; Coze's sends with one key lie further apart than a test's.
    const producer = await closing(createProducer(config, knowledgeTopic, 'cg_knowledge'))
    const got: string[] = []
    await closing(registerConsumer(config, knowledgeTopic, 'cg_knowledge', ({ body }) => void got.push(text(body))))
    for (let i = 0; i < 10; i++) {
      expect(await goSends(server, knowledgeTopic, { key: '7621099543744053248', body: `doc ${i}` })).toEqual([
        { sent: 0, duplicate: false },
      ])
      await new Promise((resolve) => setTimeout(resolve, 110))
    }
    await expect.poll(() => got).toEqual(Array.from({ length: 10 }, (_, i) => `doc ${i}`))
    await producer.close()
  })

  test('N1: on the stream that Go made, the second of its sends is lost, and said to be stored', async () => {
    const topic = fresh()
    const lines = await goSends(server, topic, { key: '7', count: 2 })
    expect(lines).toEqual([
      { sent: 0, duplicate: false },
      { sent: 1, duplicate: true },
    ])
    const { state } = await (await look(server)).streams.info(`${topic}_STREAM`)
    expect(state.messages).toBe(1)
  })

  test('N2: what a Go member gives back without end becomes a dead letter once ours shares the group', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const go = await goReads(server, topic, 'cg', { fail: 'poison', workMs: 20 })
    const options = { retry: { attempts: 3, initial: 10, jitter: 'none' } } as const
    await closing(
      registerConsumer(
        config,
        topic,
        'cg',
        ({ body }) => {
          if (text(body) === 'poison') throw new Error('cannot be parsed')
        },
        options,
      ),
    )
    await producer.send('poison')
    const stream = await look(server)
    await expect.poll(async () => (await stream.consumers.info(`${topic}_STREAM`, 'cg')).ack_floor.stream_seq).toBe(1)
    const before = go.lines.length
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(go.lines.length).toBe(before)
  })
})
