// Beside Go services on RocketMQ, and the defects of the Go bus there, by number, that are in our power: ours does not have them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { configFromEnv, createProducer, type RmqConfig, registerConsumer, workflowEvents } from '../../src/coze/index.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { temporaryFolder } from '../rig/orphans.ts'
import { startRocketmq } from '../rig/rocketmq.ts'
import { goService } from './go-service.ts'
import { closing, text } from './support.ts'

const go = await goService('go-rmq')
const { path: folder, remove } = temporaryFolder('coze-rmq')
afterAll(remove)
let ledgers = 0

let tests = 0
const fresh = (): string => `shared_${++tests}`

await describeRocketmq(`beside Go services${go.missing === undefined ? '' : ` (${go.missing})`}`, async () => {
  if (go.missing !== undefined) {
    test.skip(`beside Go services on RocketMQ (${go.missing})`)
    return
  }
  const brokers = await startRocketmq()
  afterAll(() => brokers.stop())
  const server = brokers.nameServer.address
  const configOf = (extra: Record<string, string> = {}): RmqConfig =>
    configFromEnv({ COZE_MQ_TYPE: 'rmq', MQ_NAME_SERVER: server, COZEBUS_LEDGER: `file:${folder}/${++ledgers}`, ...extra }) as RmqConfig
  const config = configOf()

  test('Go sends, ours reads: bodies, large ones that Go compresses too, the key where Go sends it, an id of its own each', async () => {
    const topic = fresh()
    const got: { id: string; key: string | undefined; body: string; headers: object }[] = []
    await closing(
      registerConsumer(config, topic, 'cg', ({ id, key, body, headers }) => void got.push({ id, key, body: text(body), headers })),
    )
    const large = 'x'.repeat(5000)
    await go.sends(server, topic, { body: '{"n":%d}', count: 2 })
    await go.sends(server, topic, { body: large })
    await go.sends(server, topic, { body: 'batch-%d', key: 'k%d', count: 2, args: ['-batch'] })
    const bodies = ['{"n":0}', '{"n":1}', large, 'batch-0', 'batch-1']
    await expect.poll(() => got.map(({ body }) => body).sort()).toEqual(bodies.sort())
    expect(new Set(got.map(({ id }) => id)).size).toBe(5)
    expect(got.every(({ headers }) => Object.keys(headers).length === 0)).toBe(true)
    expect(got.find(({ body }) => body === '{"n":0}')!.key).toBe(undefined)
  })

  test('R1: ours sends, Go reads: the body as it is, and the sharding key, with one message and with many', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const reader = await go.reads(server, topic, 'cg', { args: ['-first'] })
    await producer.send('{"n":1}', { shardingKey: 'one' })
    await producer.batchSend(['a', 'b'], { shardingKey: 'two' })
    await expect
      .poll(() => reader.lines.map(({ body, key }) => [body, key]).sort())
      .toEqual([
        ['a', 'two'],
        ['b', 'two'],
        ['{"n":1}', 'one'],
      ])
    expect(reader.lines[0]!.properties!['cozebus-message-id']).toBeDefined()
  })

  test('a Go member leaves, and ours goes on where its group stood; and the other way round', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const first = await go.reads(server, topic, 'cg_moves', { args: ['-first'] })
    await producer.batchSend(['1', '2', '3'])
    await expect.poll(() => first.lines.length).toBe(3)
    await first.stop()
    await producer.batchSend(['4', '5'])
    const got: string[] = []
    const ours = await registerConsumer(config, topic, 'cg_moves', ({ body }) => void got.push(text(body)))
    onTestFinished(() => ours.close())
    await expect.poll(() => got.toSorted()).toEqual(['4', '5'])
    await ours.close()
    await producer.send('6')
    const last = await go.reads(server, topic, 'cg_moves')
    await expect.poll(() => last.lines.map(({ body }) => body)).toEqual(['6'])
  }, 60_000)

  test('R5: what a Go member failed in, and left behind in the retry topic of the group, is handled by ours', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    const reader = await go.reads(server, topic, 'cg_fails', { args: ['-first'], fail: 'bad' })
    await producer.send('bad')
    await expect.poll(() => reader.lines.some(({ failed }) => failed === true)).toBe(true)
    await reader.stop()
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg_fails', ({ body }) => void got.push(text(body)), { retry: { attempts: 1 } }))
    await expect.poll(() => got, { timeout: 40_000 }).toEqual(['bad'])
  }, 90_000)

  test('one group of both: the queues are shared, each message is handled once, and both get some', async () => {
    const topic = fresh()
    const producer = await closing(createProducer(config, topic, 'cg'))
    await producer.send('before')
    const ours: string[] = []
    await closing(registerConsumer(config, topic, 'cg_both', ({ body }) => void ours.push(text(body)), { concurrency: 4 }))
    await expect.poll(() => ours).toEqual(['before'])
    const reader = await go.reads(server, topic, 'cg_both', { args: ['-first'] })
    await sleep(3000) // Go divides the queues anew when it hears of a member, at the latest after twenty seconds
    const bodies = Array.from({ length: 80 }, (_, i) => `ts-${i}`)
    for (const body of bodies) await producer.send(body)
    const all = (): string[] => [...ours.slice(1), ...reader.lines.map(({ body }) => body!)]
    await expect.poll(() => new Set(all()).size).toBe(80)
    await sleep(500)
    expect(all().length).toBe(80)
    expect(ours.length).toBeGreaterThan(10)
    expect(reader.lines.length).toBeGreaterThan(10)
  }, 90_000)

  test('R2: beside others that succeed at the same time exactly the message that failed comes again', async () => {
    const topic = fresh()
    const runs = new Map<string, number>()
    const done: string[] = []
    let side = 0
    let mostAtOnce = 0
    await closing(
      registerConsumer(
        config,
        topic,
        'cg',
        async ({ body }) => {
          const name = text(body)
          const run = (runs.get(name) ?? 0) + 1
          runs.set(name, run)
          mostAtOnce = Math.max(mostAtOnce, ++side)
          await sleep(20 + Math.random() * 30)
          side--
          if (run === 1 && Number(name.slice(4)) % 7 === 3) throw new Error(`no ${name}`)
          done.push(name)
        },
        { concurrency: 20, retry: { initial: 50, jitter: 'none' } },
      ),
    )
    await go.sends(server, topic, { body: 'job-%d', count: 60 })
    const all = Array.from({ length: 60 }, (_, i) => `job-${i}`)
    await expect.poll(() => done.toSorted(), { timeout: 20_000 }).toEqual(all.toSorted())
    await sleep(500)
    expect(done.length).toBe(60)
    expect(mostAtOnce).toBeGreaterThan(5)
    expect([...runs].filter(([, count]) => count > 1).map(([name]) => name)).toEqual(
      expect.arrayContaining(all.filter((_, i) => i % 7 === 3)),
    )
    expect([...runs.values()].reduce((sum, count) => sum + count, 0)).toBe(60 + all.filter((_, i) => i % 7 === 3).length)
  }, 60_000)

  test('R3: a handler that panics, and here throws, holds up nothing: it is tried again by its policy', async () => {
    const topic = fresh()
    const runs: number[] = []
    await closing(
      registerConsumer(
        config,
        topic,
        'cg',
        (_, { attempt }) => {
          runs.push(attempt)
          if (attempt < 3) throw new Error('not yet')
        },
        { retry: { initial: 50, jitter: 'none' } },
      ),
    )
    await go.sends(server, topic, { body: 'x' })
    await expect.poll(() => runs).toEqual([1, 2, 3])
  })

  test('R4: a job longer than its lease runs once', async () => {
    const topic = fresh()
    let runs = 0
    let done = 0
    for (let i = 0; i < 2; i++)
      await closing(
        registerConsumer(
          config,
          topic,
          'cg',
          async () => {
            runs++
            await sleep(6000)
            done++
          },
          { lease: 1000 },
        ),
      )
    await go.sends(server, topic, { body: 'long' })
    await expect.poll(() => done).toBe(1)
    expect(runs).toBe(1)
  }, 60_000)

  test('R6: a new group begins with the first message that is stored', async () => {
    const topic = fresh()
    await go.sends(server, topic, { body: 'early-%d', count: 3 })
    const got: string[] = []
    await closing(registerConsumer(config, topic, 'cg_late', ({ body }) => void got.push(text(body))))
    await expect.poll(() => got.length).toBe(3)
  })

  test('R8: a name server is a host name, or several of them', async () => {
    const { port } = brokers.nameServer
    const named = configFromEnv({ COZE_MQ_TYPE: 'rmq', MQ_NAME_SERVER: `localhost:${port};127.0.0.1:${port}` })
    const producer = await closing(createProducer({ ...named, ledger: 'memory:' } as RmqConfig, fresh(), 'cg'))
    expect((await producer.send('x')).position).toBeDefined()
  })

  test('R7: nothing of a body is printed, though its handler fails and it is given up', async () => {
    const env = { COZE_MQ_TYPE: 'rmq', MQ_NAME_SERVER: server, COZEBUS_LEDGER: `file:${folder}/${++ledgers}` }
    const secret = `account-${crypto.randomUUID()}`
    const program = new URL('./silent.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [program, brokers.url, fresh(), `{"token":"${secret}"}`], { env: { ...process.env, ...env } })
    onTestFinished(() => void child.kill('SIGKILL'))
    let printed = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (printed += bytes.toString()))
    const [code] = await once(child, 'close')
    expect({ code, printed }).toMatchObject({ code: 0 })
    expect(printed).not.toContain(secret)
    expect(printed).not.toContain('token')
  }, 60_000)

  test("the guide's families carry their parameters", async () => {
    const bus = await closing(connect(brokers.url, { ledger: 'memory:' }))
    const got: unknown[] = []
    await bus.subscribe(workflowEvents.where({ event: 'done' }), { group: 'g' }, ({ params }) => void got.push(params.workflowId))
    await bus.publish(workflowEvents.with({ workflowId: '7', event: 'done' }), {} as never)
    await bus.publish(workflowEvents.with({ workflowId: '8', event: 'begun' }), {} as never)
    await expect.poll(() => got).toEqual(['7'])
  })
})
