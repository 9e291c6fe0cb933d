import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { configFromEnv, createProducer, registerConsumer } from '../../src/coze/index.ts'
import { connect } from '../../src/index.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { goReads, goSends, noGo } from './beside-go.ts'

const text = (body: Uint8Array): string => Buffer.from(body).toString()

/** Closed when the test ends, unless it was before. */
async function closing<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
  const opened = await opening
  onTestFinished(() => opened.close())
  return opened
}

// K8 is not the bus's to mend: which key an event has is its application's choice (docs/coze.md).
await describeKafka('beside Go services', () => {
  if (noGo !== undefined) {
    test.skip(`beside Go services (${noGo})`)
    return
  }
  let broker: KafkaNode
  let config: ReturnType<typeof configFromEnv>
  let tests = 0
  const fresh = (): string => `shared_${++tests}`
  beforeAll(async () => {
    broker = await startKafka()
    config = configFromEnv({ COZE_MQ_TYPE: 'kafka', MQ_NAME_SERVER: broker.address })
  }, 90_000)
  afterAll(() => broker.stop())

  test('Go sends, ours reads: body, key, no header, and an id of its own each', async () => {
    const topic = fresh()
    const got: { id: string; key: string | undefined; body: string; headers: object }[] = []
    await closing(
      registerConsumer(config, topic, 'cg', ({ id, key, body, headers }) => void got.push({ id, key, body: text(body), headers })),
    )
    await goSends(broker, topic, { key: '7621099543744036864', body: 'a' })
    await goSends(broker, topic, { body: 'b' })
    await expect.poll(() => got.map(({ body }) => body).sort()).toEqual(['a', 'b'])
    expect(got.map(({ body, key }) => [body, key]).sort()).toEqual([
      ['a', '7621099543744036864'],
      ['b', undefined],
    ])
    expect(new Set(got.map(({ id }) => id)).size).toBe(2)
    expect(got.map(({ headers }) => headers)).toEqual([{}, {}])
  })

  test('ours sends, Go reads: body and key as they are, our headers beside them', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const go = await goReads(broker, topic, 'cg')
    const { id } = await producer.send('{"n":1}', { shardingKey: 'one' })
    await producer.send('{"n":2}')
    await expect.poll(() => go.lines.map(({ body }) => body).sort()).toEqual(['{"n":1}', '{"n":2}'])
    const first = go.lines.find(({ body }) => body === '{"n":1}')!
    expect(first.key).toBe('one')
    expect(first.headers!['cozebus-message-id']).toBe(id)
  })

  test('a key is in one partition, whoever sends it', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const theirs = await goSends(broker, topic, { key: 'документ-%d', count: 50 })
    const ours: number[] = []
    for (let i = 0; i < 50; i++) ours.push(Number.parseInt((await producer.send('x', { shardingKey: `документ-${i}` })).position!, 10))
    expect(ours).toEqual(theirs.map(({ partition }) => partition))
    expect(new Set(ours).size).toBeGreaterThan(4)
  })

  for (const first of ['Go', 'ours'] as const)
    test(`one group of both, ${first} first: each message is handled once, and both get some`, async () => {
      const topic = fresh()
      const producer = await closing(createProducer(config, topic, 'cg'))
      const ours: string[] = []
      const join = () => closing(registerConsumer(config, topic, `cg_${topic}`, ({ body }) => void ours.push(text(body))))
      if (first === 'ours') await join()
      const go = await goReads(broker, topic, `cg_${topic}`)
      if (first === 'Go') await join()
      await expect.poll(() => go.rounds.at(-1)).toBe(4)
      await Promise.all([
        goSends(broker, topic, { key: 'k%d', body: 'go-%d', count: 40 }),
        producer.batchSend(Array.from({ length: 40 }, (_, i) => `ts-${i}`)),
      ])
      const all = (): string[] => [...ours, ...go.lines.map(({ body }) => body!)]
      await expect.poll(() => all().length).toBe(80)
      expect(new Set(all()).size).toBe(80)
      expect(ours.length).toBeGreaterThan(0)
      expect(go.lines.length).toBeGreaterThan(0)
    }, 60_000)

  test('whoever leaves, the other goes on where it stood', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const go = await goReads(broker, topic, `cg_${topic}`)
    await producer.batchSend(['1', '2', '3'])
    await expect.poll(() => go.lines.length).toBe(3)
    await go.stop()
    await producer.batchSend(['4', '5'])
    const got: string[] = []
    const ours = await registerConsumer(config, topic, `cg_${topic}`, ({ body }) => void got.push(text(body)))
    await expect.poll(() => [...got].sort()).toEqual(['4', '5'])
    await ours.close()
    await producer.batchSend(['6', '7'])
    const again = await goReads(broker, topic, `cg_${topic}`)
    await expect.poll(() => again.lines.map(({ body }) => body).sort()).toEqual(['6', '7'])
  }, 60_000)

  test('K1: what a Go member passes over is lost to it; what fails at ours comes again, and nothing is skipped', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const go = await goReads(broker, topic, 'go_alone', { fail: 'poison' })
    const runs: string[] = []
    await closing(
      registerConsumer(
        config,
        topic,
        'ours_alone',
        ({ body }) => {
          runs.push(text(body))
          if (text(body) === 'poison' && runs.filter((one) => one === 'poison').length < 3) throw new Error('not yet')
        },
        { retry: { initial: 10, jitter: 'none' } },
      ),
    )
    for (const body of ['a', 'poison', 'b']) await producer.send(body, { shardingKey: 'one' })
    await expect.poll(() => runs.filter((one) => one === 'poison').length).toBe(3)
    await expect.poll(() => go.lines.length).toBe(3)
    await using bus = await connect(broker.url)
    await expect
      .poll(async () => (await bus.admin.groups(topic)).map(({ group, lag }) => [group, lag]).sort())
      .toEqual([
        ['go_alone', 0],
        ['ours_alone', 0],
      ])
  }, 60_000)

  test('K3: a handler that runs while members come keeps its message to its end, and nobody repeats it', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const runs: string[] = []
    const end = Promise.withResolvers<void>()
    const job = async ({ body }: { body: Uint8Array }): Promise<void> => {
      runs.push(text(body))
      await end.promise
    }
    await closing(registerConsumer(config, topic, 'long', job, { concurrency: 8 }))
    await producer.batchSend(['0', '1', '2', '3', '4', '5', '6', '7'])
    await expect.poll(() => runs.length).toBe(8)
    // A process of its own: another configuration is another connection.
    const second = await closing(connect(broker.url, { kafka: { partitioner: 'fnv1a' } }))
    await second.subscribe(topic, { group: 'long' }, () => void runs.push('again'))
    end.resolve()
    await using bus = await connect(broker.url)
    await expect.poll(async () => bus.admin.lag(topic, 'long')).toBe(0)
    expect(runs.length).toBe(8)
  }, 60_000)

  test('K4: a list of brokers is a list', async () => {
    const many = configFromEnv({ COZE_MQ_TYPE: 'kafka', MQ_NAME_SERVER: `127.0.0.1:1,${broker.address}` })
    const topic = fresh()
    const producer = await closing(createProducer(many, topic, 'cg'))
    expect((await producer.send('x')).duplicate).toBe(false)
  })

  test('K5: what has one sharding key is handled in its order and one at a time, over all members', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const got = new Map<string, number[]>()
    const running = new Set<string>()
    const job = async ({ key, body }: { key: string | undefined; body: Uint8Array }): Promise<void> => {
      expect(running.has(key!)).toBe(false)
      running.add(key!)
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
      running.delete(key!)
      got.set(key!, [...(got.get(key!) ?? []), Number(text(body))])
    }
    const options = { order: 'key', concurrency: 8, retry: { attempts: 1 } } as const
    // Another configuration is another process's.
    for (const own of [config, { ...config }]) await closing(registerConsumer(own, topic, 'cg5', job, options))
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    await Promise.all(
      keys.map((shardingKey) =>
        producer.batchSend(
          Array.from({ length: 20 }, (_, i) => `${i}`),
          { shardingKey },
        ),
      ),
    )
    await expect.poll(() => [...got.values()].flat().length, { timeout: 30_000 }).toBe(120)
    for (const key of keys) expect(got.get(key)).toEqual(Array.from({ length: 20 }, (_, i) => i))
  }, 60_000)

  test('K6: a handler that throws whatever it likes ends nothing', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const got: string[] = []
    await closing(
      registerConsumer(
        config,
        topic,
        'cg6',
        ({ body }) => {
          got.push(text(body))
          if (got.length === 1) throw undefined
        },
        { retry: { initial: 10, jitter: 'none' } },
      ),
    )
    await producer.batchSend(['a', 'b'])
    await expect.poll(() => got.length).toBe(3)
  })

  test('K7: connections that break before the answer repeat no send, and change no order', async () => {
    const target = { port: 0 }
    const proxy = await startProxy(target)
    onTestFinished(() => proxy.close())
    // The broker sends its clients through the proxy.
    const behind = await startKafka({ advertised: proxy.port })
    onTestFinished(() => behind.stop())
    target.port = behind.port
    const own = configFromEnv({ COZE_MQ_TYPE: 'kafka', MQ_NAME_SERVER: `127.0.0.1:${proxy.port}` })
    const producer = await closing(createProducer(own, 'cut', 'cg'))
    await producer.send('0', { shardingKey: 'one' })
    const bodies = ['0']
    const sent: Promise<unknown>[] = []
    for (let cut = 0; cut < 5; cut++) {
      // What is on its way is stored; its answer does not come.
      proxy.cutAfter(10, 'down')
      for (let i = 0; i < 20; i++) {
        const body = `${bodies.length}`
        bodies.push(body)
        sent.push(producer.send(body, { shardingKey: 'one' }))
      }
      await Promise.all(sent)
    }
    await using bus = await connect(behind.url)
    const { messages } = await bus.admin.browse('cut', { limit: 1000 })
    expect(messages.map(({ bytes }) => text(bytes))).toEqual(bodies)
  }, 120_000)

  test('C3: a broker that is absent at start is an error that says so, or is waited for', async () => {
    await broker.kill()
    await expect(
      createProducer(configFromEnv({ COZE_MQ_TYPE: 'kafka', MQ_NAME_SERVER: broker.address }), fresh(), 'cg'),
    ).rejects.toMatchObject({
      code: 'engine_unavailable',
    })
    const waiting = connect(broker.url, { kafka: { waitForServer: true } })
    await broker.start()
    await using bus = await waiting
    await bus.publish(fresh(), 1)
  }, 90_000)

  test('K2, K9: with the broker away a send ends in its time, and consumption goes on once it is back', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg2', ({ body }) => void got.push(text(body))))
    await producer.send('before')
    await expect.poll(() => got).toEqual(['before'])
    await broker.kill()
    const begun = performance.now()
    await expect(producer.send('lost', { timeout: 500, signal: AbortSignal.timeout(1500) })).rejects.toThrow()
    expect(performance.now() - begun).toBeLessThan(5000)
    await broker.start()
    await producer.send('after')
    // A broker that was away for longer than a session waits for the member that it remembers.
    await expect.poll(() => got.includes('after'), { timeout: 70_000 }).toBe(true)
  }, 180_000)
})
