// Beside Go services on NSQ, and the defects of the Go bus there, by number, that are in our power: ours does not have them.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import {
  configFromEnv,
  createProducer,
  knowledgeTopic,
  type NsqConfig,
  registerConsumer,
  resourceEvents,
  workflowEvents,
} from '../../src/coze/index.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { describeNsq } from '../rig/needs.ts'
import { type NsqdSettings, type NsqNode, startNsqd, startNsqlookupd } from '../rig/nsq.ts'
import { temporaryFolder } from '../rig/orphans.ts'
import { goService } from './go-service.ts'
import { closing, text } from './support.ts'

const go = await goService('go-nsq')
const { path: folder, remove } = temporaryFolder('coze-nsq')
afterAll(remove)
let ledgers = 0

function configOn(server: NsqNode): NsqConfig {
  const env = { COZE_MQ_TYPE: 'nsq', MQ_NAME_SERVER: server.tcp, COZEBUS_LEDGER: `file:${folder}/${++ledgers}` }
  const config = configFromEnv(env) as NsqConfig
  return { ...config, nsq: { ...config.nsq, http: [server.http] } }
}

let tests = 0
const fresh = (): string => `shared_${++tests}`

async function nsqd(settings: NsqdSettings = {}): Promise<NsqNode> {
  const server = await startNsqd(settings)
  onTestFinished(() => server.stop())
  return server
}

await describeNsq(`beside Go services on NSQ${go.missing === undefined ? '' : ` (${go.missing})`}`, async () => {
  if (go.missing !== undefined) {
    test.skip(`beside Go services on NSQ (${go.missing})`)
    return
  }
  const server = await startNsqd()
  afterAll(() => server.stop())
  const config = configOn(server)

  test('Go sends, ours reads: bodies as they are, an id of its own each', async () => {
    const topic = fresh()
    const got: { id: string; body: string }[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ id, body }) => void got.push({ id, body: text(body) })))
    await go.sends(server.tcp, topic, { key: '7', body: '{"n":%d}', count: 3 })
    await expect.poll(() => got.map(({ body }) => body).sort()).toEqual(['{"n":0}', '{"n":1}', '{"n":2}'])
    expect(new Set(got.map(({ id }) => id)).size).toBe(3)
  })

  test('ours sends, Go reads: the body and nothing else', async () => {
    const topic = fresh()
    const reader = await go.reads(server.tcp, topic, 'cg')
    const producer = await closing(createProducer(config, topic, 'cg'))
    for (let i = 0; i < 3; i++) await producer.send(`{"n":${i}}`, { shardingKey: 'one' })
    await producer.batchSend(['a', 'b'])
    await expect.poll(() => reader.lines.map(({ body }) => body).sort()).toEqual(['a', 'b', '{"n":0}', '{"n":1}', '{"n":2}'])
  })

  test('one channel of both: each message is handled once, and both get some', async () => {
    const topic = fresh()
    const ours: string[] = []
    await closing(
      registerConsumer(config, topic, 'cg', async ({ body }) => {
        await sleep(5)
        ours.push(text(body))
      }),
    )
    const reader = await go.reads(server.tcp, topic, 'cg', { workMs: 5 })
    const producer = await closing(createProducer(config, topic, 'cg'))
    await Promise.all([
      go.sends(server.tcp, topic, { body: 'go-%d', count: 40 }),
      producer.batchSend(Array.from({ length: 40 }, (_, i) => `ts-${i}`)),
    ])
    const all = (): string[] => [...ours, ...reader.lines.map(({ body }) => body!)]
    await expect.poll(() => all().length).toBe(80)
    expect(new Set(all()).size).toBe(80)
    expect(ours.length).toBeGreaterThan(0)
    expect(reader.lines.length).toBeGreaterThan(0)
  })

  test('a Go member leaves its channel to the group, and ours goes on where it stood', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const reader = await go.reads(server.tcp, topic, 'cg')
    await producer.batchSend(['1', '2', '3'])
    await expect.poll(() => reader.lines.length).toBe(3)
    await reader.stop()
    await producer.batchSend(['4', '5'])
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg', ({ body }) => void got.push(text(body))))
    await expect.poll(() => got.sort()).toEqual(['4', '5'])
  })

  test('Q2: what ours fails in again and again is never dropped by a Go member: it counts its own tries alone', async () => {
    const topic = fresh()
    const runs: number[] = []
    const retry = { attempts: 9, initial: 10, max: 10, jitter: 'none' } as const
    await closing(
      registerConsumer(
        config,
        topic,
        'cg',
        (_, { attempt }) => {
          runs.push(attempt)
          throw new Error('never works')
        },
        { retry },
      ),
    )
    await go.sends(server.tcp, topic, { body: 'poison' })
    // Ours has had it four times when Go joins, which gives up on the sixth hand-over.
    await expect.poll(() => runs.length, { timeout: 25_000 }).toBeGreaterThanOrEqual(4)
    const reader = await go.reads(server.tcp, topic, 'cg')
    const bus = await closing(connect(config.url, { nsq: config.nsq, ledger: config.ledger! }))
    await expect.poll(() => bus.admin.deadLetters(topic, 'cg').count(), { timeout: 25_000 }).toBe(1)
    expect(runs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(reader.lines).toEqual([])
  }, 60_000)
})

await describeNsq('defects of the Go bus on NSQ that ours does not have', () => {
  const quick = { retry: { attempts: 3, initial: 20, jitter: 'none' } } as const

  test('Q1: a handler longer than the message timeout runs once, and longer than nsqd’s longest too', async () => {
    const config = configOn(await nsqd({ maxMsgTimeoutMs: 4000 }))
    const runs: string[] = []
    let aborted = 0
    const member = () =>
      closing(
        registerConsumer(
          config,
          'jobs',
          'cg',
          async ({ body }, { signal }) => {
            runs.push(text(body))
            signal.addEventListener('abort', () => aborted++)
            await sleep(9000)
          },
          { lease: '2s' },
        ),
      )
    const works = [await member(), await member()]
    const producer = await closing(createProducer(config, 'jobs', 'cg'))
    await producer.batchSend(['a', 'b'])
    await expect.poll(() => works.reduce((sum, work) => sum + work.status().handled, 0), { timeout: 40_000 }).toBe(2)
    // On a machine that stands still for seconds a lease may be lost: that is told, and costs one run more.
    expect([...new Set(runs)].sort()).toEqual(['a', 'b'])
    expect(runs.length).toBe(2 + aborted)
    expect(aborted).toBeLessThanOrEqual(1)
  }, 60_000)

  test('Q2: a failing message is tried as often as it is said, then kept with its reason, and can be replayed', async () => {
    const config = configOn(await nsqd())
    let broken = true
    const got: string[] = []
    const handler = ({ body }: { body: Uint8Array }): void => {
      if (broken) throw new Error('no such bucket')
      got.push(text(body))
    }
    await closing(registerConsumer(config, 'jobs', 'cg', handler, quick))
    await (await closing(createProducer(config, 'jobs', 'cg'))).send('job')
    const bus = await closing(connect(config.url, { nsq: { ...config.nsq, raw: true }, ledger: config.ledger! }))
    const desk = bus.admin.deadLetters('jobs', 'cg')
    await expect.poll(() => desk.count()).toBe(1)
    const [letter] = await desk.list()
    expect(letter).toMatchObject({ attempts: 3, error: expect.stringContaining('no such bucket') })
    broken = false
    await desk.replay([letter!.id])
    await expect.poll(() => got).toEqual(['job'])
  })

  test('Q3: one failing message does not slow the others down', async () => {
    const config = configOn(await nsqd())
    const done: string[] = []
    const handler = ({ body }: { body: Uint8Array }): void => {
      done.push(text(body))
      if (text(body) === 'bad') throw new Error('broken')
    }
    await closing(registerConsumer(config, 'jobs', 'cg', handler, { retry: { initial: '10s', jitter: 'none' } }))
    const producer = await closing(createProducer(config, 'jobs', 'cg'))
    await producer.send('bad')
    await expect.poll(() => done).toEqual(['bad'])
    await producer.batchSend(Array.from({ length: 50 }, (_, i) => `${i}`))
    await expect.poll(() => done.filter((body) => body === 'bad').length, { timeout: 30_000 }).toBe(2)
    // All of them before it is tried again.
    expect(done.indexOf('bad', 1)).toBe(51)
  }, 60_000)

  test('Q4: an order by a key that is not on the wire is refused; by a key in the body one process keeps it, through retries', async () => {
    const config = configOn(await nsqd())
    await expect(registerConsumer(config, 'jobs', 'cg', () => {}, { order: 'key' })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('definition'),
    })
    const { topic } = await import('../../src/topic/definition.ts')
    const jobs = topic('jobs', { key: (body) => (body as { key: string }).key })
    const bus = await closing(connect(config.url, { nsq: { ...config.nsq, raw: true }, ledger: memoryLedger() }))
    const seen: string[] = []
    const options = { group: 'cg', orderScope: 'process', retry: { initial: 20 } } as const
    await bus.subscribe(jobs, options, ({ body: { key, n } }, { attempt }) => {
      if (n === 1 && attempt === 1) throw new Error('once')
      seen.push(`${key}${n}`)
    })
    for (let n = 0; n < 4; n++) for (const key of ['a', 'b']) await bus.publish(jobs, { key, n })
    await expect.poll(() => seen.length).toBe(8)
    for (const key of ['a', 'b']) expect(seen.filter((one) => one.startsWith(key))).toEqual([0, 1, 2, 3].map((n) => `${key}${n}`))
  })

  test('Q6: jobs of many minutes do not block others where there is concurrency', async () => {
    const config = configOn(await nsqd())
    const done: string[] = []
    const gate = Promise.withResolvers<void>()
    const handler = async ({ body }: { body: Uint8Array }): Promise<void> => {
      if (text(body) === 'long') await gate.promise
      done.push(text(body))
    }
    await closing(registerConsumer(config, 'jobs', 'cg', handler, { concurrency: 2 }))
    const producer = await closing(createProducer(config, 'jobs', 'cg'))
    await producer.send('long')
    await producer.batchSend(['1', '2', '3'])
    await expect.poll(() => done.sort()).toEqual(['1', '2', '3'])
    gate.resolve()
  })

  test('Q7: a poisonous body becomes a dead letter and takes nobody down', async () => {
    const config = configOn(await nsqd())
    const bus = await closing(connect(config.url, { nsq: { ...config.nsq, raw: true }, ledger: memoryLedger() }))
    const seen: unknown[] = []
    await bus.subscribe(resourceEvents, { group: 'cg_search_resource', ...quick }, ({ body }) => {
      seen.push(body.resource_document!.res_id)
    })
    const producer = await closing(createProducer(config, 'opencoze_search_resource', 'cg_search_resource'))
    for (const body of [
      '{"op_type":"created"}',
      'no json',
      '{"op_type":"created","resource_document":{"res_id":7621099543744036864,"res_type":1}}',
    ])
      await producer.send(body)
    await expect.poll(() => seen).toEqual([7621099543744036864n])
    await expect.poll(() => bus.admin.deadLetters('opencoze_search_resource', 'cg_search_resource').count()).toBe(2)
  })

  test('Q8: a body above the limit is refused with the limit, before it is sent; one just below is taken', async () => {
    const config = configOn(await nsqd({ maxMsgSize: 200_000 }))
    const got: number[] = []
    await closing(registerConsumer(config, knowledgeTopic, 'cg_knowledge', ({ body }) => void got.push(body.byteLength)))
    const producer = await closing(createProducer(config, knowledgeTopic, 'cg_knowledge'))
    await expect(producer.send(new Uint8Array(200_001))).rejects.toMatchObject({
      code: 'message_too_large',
      message: expect.stringContaining('200000'),
    })
    await producer.send(new Uint8Array(199_999).fill(32))
    await expect.poll(() => got).toEqual([199_999])
  })

  test('Q9: a lookup daemon in MQ_NAME_SERVER is told apart, and with its scheme it works', async () => {
    const lookup = await startNsqlookupd()
    onTestFinished(() => lookup.stop())
    const server = await nsqd({ lookupd: [lookup.tcp] })
    await expect.poll(() => lookup.ask('/nodes')).toContain(String(server.ports.tcp))
    const at = (address: string): NsqConfig => ({
      ...(configFromEnv({ COZE_MQ_TYPE: 'nsq', MQ_NAME_SERVER: address }) as NsqConfig),
      ledger: `file:${folder}/${++ledgers}`,
    })
    await expect(createProducer(at(lookup.http), 'jobs')).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('nsq+lookup://'),
    })
    const got: string[] = []
    await closing(registerConsumer(at(lookup.url), 'jobs', 'cg', ({ body }) => void got.push(text(body))))
    await (await closing(createProducer(at(lookup.url), 'jobs', 'cg'))).send('found')
    await expect.poll(() => got).toEqual(['found'])
  })

  test('C3: nsqd that is absent at start can be waited for', async () => {
    const server = await nsqd()
    await server.kill()
    const config = configOn(server)
    await expect(createProducer(config, 'jobs')).rejects.toMatchObject({ code: 'engine_unavailable' })
    const waiting = createProducer({ ...config, nsq: { ...config.nsq, waitForServer: true, reconnectWaitMs: 50 } }, 'jobs')
    await sleep(200)
    await server.start()
    await (await closing(waiting)).send('1')
  })

  test('the HTTP side of nsqd is not needed to send and to read', async () => {
    const server = await nsqd()
    const config = configOn(server)
    const blind = { ...config, nsq: { ...config.nsq, http: ['127.0.0.1:9'] } }
    const got: string[] = []
    await closing(registerConsumer(blind, 'jobs', 'cg', ({ body }) => void got.push(text(body))))
    await (await closing(createProducer(blind, 'jobs', 'cg'))).send('1')
    await expect.poll(() => got).toEqual(['1'])
  })

  test('the guide’s families keep parameters and keys: they are the bus’s own', async () => {
    const config = configOn(await nsqd())
    const got: string[] = []
    await closing(
      registerConsumer(config, 'coze.workflow.7.finished', 'cg', ({ topic, key, body }) => void got.push(`${topic} ${key} ${text(body)}`)),
    )
    const producer = await closing(createProducer(config))
    await producer.sendMessage('coze.workflow.8.finished', 'no')
    await producer.sendMessage('coze.workflow.7.finished', 'yes', { shardingKey: 'k' })
    await expect.poll(() => got).toEqual(['coze.workflow.7.finished k yes'])
    expect(workflowEvents.storage).toBe('coze.workflow.*.*')
  })
})
