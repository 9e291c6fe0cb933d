// The defects of Coze Studio's Go bus on NATS, by number, that are in our power: ours does not have them.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { BatchSendError, createProducer, registerConsumer } from '../../src/coze/index.ts'
import { patientApi } from '../../src/engines/nats/api.ts'
import { nkeyAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { temporaryFolder } from '../rig/orphans.ts'
import { startProxy } from '../rig/proxy.ts'
import { closing, configFor, look, text } from './support.ts'

await describeNats('defects of the Go bus that ours does not have', async (version) => {
  const server = await startNats({ version })
  afterAll(() => server.stop())
  const config = configFor(server)
  let tests = 0
  const fresh = (): string => `defect_${++tests}`
  const quick = { retry: { attempts: 3, initial: 10, jitter: 'none' } } as const

  test('N1: ten sends with one key at once are ten messages', async () => {
    const topic = fresh()
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ body, key }) => void got.push(`${key} ${text(body)}`)))
    const producer = await closing(createProducer(config, topic, 'cg'))
    const sent = await Promise.all(Array.from({ length: 10 }, (_, i) => producer.send(`${i}`, { shardingKey: '7' })))
    expect(sent.filter(({ duplicate }) => duplicate)).toEqual([])
    await expect.poll(() => got).toEqual(Array.from({ length: 10 }, (_, i) => `7 ${i}`))
  })

  test('N2: a failing message is tried again later and not for ever, and others pass it meanwhile', async () => {
    const topic = fresh()
    const runs: { body: string; at: number }[] = []
    const handler = ({ body }: { body: Uint8Array }): void => {
      runs.push({ body: text(body), at: Date.now() })
      if (text(body) === 'poison') throw new Error('no such bucket')
    }
    const options = { retry: { attempts: 3, initial: 300, factor: 1, jitter: 'none' } } as const
    await closing(registerConsumer(config, topic, 'cg', handler, options))
    const producer = await closing(createProducer(config, topic, 'cg'))
    await producer.batchSend(['poison', '1', '2', '3'])
    const bus = await closing(connect(server.url))
    const desk = bus.admin.deadLetters(topic, 'cg')
    await expect.poll(() => desk.count()).toBe(1)
    expect(await desk.list()).toMatchObject([{ attempts: 3, error: expect.stringContaining('no such bucket') }])
    expect(runs.slice(0, 4).map(({ body }) => body)).toEqual(['poison', '1', '2', '3'])
    const poison = runs.filter(({ body }) => body === 'poison').map(({ at }) => at)
    expect(poison).toHaveLength(3)
    for (const i of [1, 2]) expect(poison[i]! - poison[i - 1]!).toBeGreaterThanOrEqual(295)
  })

  test('N3: a handler longer than the lease runs once, with two members', async () => {
    const topic = fresh()
    const runs: string[] = []
    const member = () =>
      closing(
        registerConsumer(
          config,
          topic,
          'cg',
          async ({ body }) => {
            runs.push(text(body))
            await sleep(3500)
          },
          { lease: 1000 },
        ),
      )
    await member()
    await member()
    const jsm = await look(server)
    expect((await jsm.consumers.info(`${topic}_STREAM`, 'cg')).config.ack_wait).toBe(1e9)
    const producer = await closing(createProducer(config, topic))
    await producer.send('long')
    await expect.poll(async () => (await jsm.consumers.info(`${topic}_STREAM`, 'cg')).ack_floor.stream_seq).toBe(1)
    expect(runs).toEqual(['long'])
  })

  test('N4: the stream made here drops nothing unread by count or size, nor in a day', async () => {
    const topic = fresh()
    await closing(createProducer(config, topic, 'cg'))
    const { config: stream } = await (await look(server)).streams.info(`${topic}_STREAM`)
    expect(stream).toMatchObject({ max_msgs: -1, max_bytes: -1, max_age: 7 * 86_400 * 1e9, storage: 'file', retention: 'limits' })
  })

  test('N5: a handler that throws, and members that leave, keep the group where it stood', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const first: string[] = []
    const consumer = await registerConsumer(config, topic, 'cg', ({ body }) => void first.push(text(body)))
    await producer.batchSend(['1', '2'])
    await expect.poll(() => first).toEqual(['1', '2'])
    await consumer.close()
    await producer.send('3')
    const second: string[] = []
    const failing = await registerConsumer(
      config,
      topic,
      'cg',
      ({ body }) => {
        second.push(text(body))
        if (second.length === 1) throw new TypeError('a bug')
      },
      quick,
    )
    await expect.poll(() => second).toEqual(['3', '3'])
    await failing.close()
    expect((await (await look(server)).consumers.info(`${topic}_STREAM`, 'cg')).num_pending).toBe(0)
  })

  test('N6: a consumer that cannot read is an error of registerConsumer, not a line in a log', async () => {
    const topic = fresh()
    const jsm = await look(server)
    await jsm.streams.add({ name: `${topic}_STREAM`, subjects: ['elsewhere'] })
    const joining = registerConsumer(config, topic, 'cg', () => {})
    await expect(joining).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining(`${topic}_STREAM`) })
  })

  test("the guide's MaxDeliver on the durable loses nothing: who reads is refused with what mends it, who sends is not", async () => {
    const topic = 'max_deliver'
    const manager = await look(server)
    await manager.streams.add({ name: `${topic}_STREAM`, subjects: [topic] })
    await manager.consumers.add(`${topic}_STREAM`, { durable_name: 'cg', ack_policy: 'explicit', max_deliver: 3, filter_subject: topic })
    const producer = await closing(createProducer(config, topic, 'cg'))
    await producer.send('{}')
    const refused = registerConsumer(config, topic, 'cg', () => {})
    await expect(refused).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('--max-deliver=-1') })
  })

  test('N7: a deleted consumer is made again where the group stood, without a storm of requests', async () => {
    const topic = fresh()
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ body }) => void got.push(text(body))))
    const producer = await closing(createProducer(config, topic, 'cg'))
    await producer.batchSend(['1', '2'])
    await expect.poll(() => got).toEqual(['1', '2'])
    const jsm = await look(server)
    await patientApi(jsm).consumers.delete(`${topic}_STREAM`, 'cg')
    const before = (await jsm.getAccountInfo()).api.total
    await sleep(2000)
    expect((await jsm.getAccountInfo()).api.total - before).toBeLessThan(100)
    await producer.send('3')
    await expect.poll(() => got.at(-1)).toBe('3')
  })

  test('N8: without JetStream, what a queue group hears is shared, and its key arrives', async () => {
    const topic = fresh()
    const core = configFor(server, { NATS_USE_JETSTREAM: 'false' })
    const got: string[][] = [[], []]
    for (const mine of got) await closing(registerConsumer(core, topic, 'cg', ({ body, key }) => void mine.push(`${key} ${text(body)}`)))
    const producer = await closing(createProducer(core, topic, 'cg'))
    await producer.batchSend(
      Array.from({ length: 40 }, (_, i) => `${i}`),
      { shardingKey: '7' },
    )
    await expect.poll(() => got.flat().length).toBe(40)
    expect(new Set(got.flat()).size).toBe(40)
    expect(got.flat()).toContain('7 39')
    await expect((await look(server)).streams.info(`${topic}_STREAM`)).rejects.toThrow(/stream not found/)
  })

  test('N9: a send asks the JetStream API nothing', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const jsm = await look(server)
    const before = (await jsm.getAccountInfo()).api.total
    for (let i = 0; i < 50; i++) await producer.send(`${i}`)
    expect((await jsm.getAccountInfo()).api.total - before).toBeLessThan(10)
    expect((await jsm.streams.info(`${topic}_STREAM`)).state.messages).toBe(50)
  })

  test('N9: NATS_STREAM_REPLICAS above the size of the cluster is an error', async () => {
    const many = configFor(server, { NATS_STREAM_REPLICAS: '3' })
    await expect(createProducer(many, fresh())).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('replicas'),
    })
  })

  test('N10: a send to a server that does not answer ends, and says that the message may be stored', async () => {
    const proxy = await closing(startProxy(server.port))
    const producer = await closing(createProducer(configFor(server, { MQ_NAME_SERVER: `127.0.0.1:${proxy.port}` }), fresh()))
    await producer.send('heard')
    proxy.set({ blackhole: true })
    const begun = Date.now()
    await expect(producer.send('unheard', { timeout: '1s' })).rejects.toMatchObject({ code: 'publish_unknown' })
    expect(Date.now() - begun).toBeLessThan(15_000)
    proxy.set({ blackhole: false })
  })

  test('N11: a batch keeps its order, and one that cannot be stored is named and holds up no other', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ body }) => void got.push(text(body))))
    const bodies = Array.from({ length: 200 }, (_, i) => `${i}`)
    await producer.batchSend(bodies)
    await expect.poll(() => got).toEqual(bodies)
    const failed = await producer.batchSend(['a', new Uint8Array(2 ** 21), 'b']).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(BatchSendError)
    expect(failed).toMatchObject({ code: 'message_too_large', outcomes: [{ ok: true }, { ok: false }, { ok: true }] })
    await expect.poll(() => got.slice(200)).toEqual(['a', 'b'])
  })

  test('N13: close sends what was handed in, and twice is one close', async () => {
    const topic = fresh()
    const producer = await createProducer(config, topic, 'cg')
    const sent = Array.from({ length: 100 }, (_, i) => producer.send(`${i}`))
    await Promise.all([producer.close(), producer.close()])
    expect(await Promise.all(sent)).toHaveLength(100)
    expect((await (await look(server)).streams.info(`${topic}_STREAM`)).state.messages).toBe(100)
    await expect(producer.send('late')).rejects.toMatchObject({ code: 'closed' })
  })

  test('N14: an acknowledgement that was lost with the connection is made good: every message is settled in the end', async () => {
    const topic = fresh()
    const proxy = await closing(startProxy(server.port))
    const far = configFor(server, { MQ_NAME_SERVER: `127.0.0.1:${proxy.port}` })
    const done = new Set<string>()
    const handler = async ({ body }: { body: Uint8Array }): Promise<void> => {
      await sleep(2)
      done.add(text(body))
    }
    const quickly = { ...far, nats: { ...far.nats, reconnectWaitMs: 20, reconnectJitterMs: 0 } }
    await closing(registerConsumer(quickly, topic, 'cg', handler, { lease: 1000 }))
    const producer = await closing(createProducer(config, topic))
    await producer.batchSend(Array.from({ length: 100 }, (_, i) => `${i}`))
    for (let cuts = 1; cuts <= 3; cuts++) {
      await expect.poll(() => done.size).toBeGreaterThanOrEqual(cuts * 20)
      proxy.cut()
    }
    const jsm = await look(server)
    await expect.poll(async () => (await jsm.consumers.info(`${topic}_STREAM`, 'cg')).ack_floor.stream_seq).toBe(100)
    expect(done.size).toBe(100)
  })
})

await describeNats('N12: NATS_NKEY_SEED', async (version) => {
  const access = nkeyAccess()
  const server = await startNats({ version, access })
  afterAll(() => server.stop())

  test('is a seed, or the path of a file with one, with whatever line end', async () => {
    const folder = temporaryFolder('seed')
    onTestFinished(folder.remove)
    const path = join(folder.path, 'user.nk')
    writeFileSync(path, `${access.seed}\r\n`)
    for (const seed of [access.seed, path]) {
      const producer = await closing(createProducer(configFor(server, { NATS_NKEY_SEED: seed }), 'seeds', 'cg'))
      expect(await producer.send('in')).toMatchObject({ duplicate: false })
    }
  })

  test('that is neither is refused with the name of what is wrong, and not shown', async () => {
    const wrong = createProducer(configFor(server, { NATS_NKEY_SEED: '/no/such/secret' }), 'seeds')
    await expect(wrong).rejects.toMatchObject({ code: 'invalid_argument', message: expect.stringContaining('nkey') })
    await expect(wrong).rejects.not.toMatchObject({ message: expect.stringContaining('/no/such/secret') })
  })
})
