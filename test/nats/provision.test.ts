import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { AckPolicy, jetstreamManager, StorageType } from '@nats-io/jetstream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Bus, connect, topic } from '../../src/index.ts'
import { startNats } from '../rig/nats.ts'
import { natsCli } from '../rig/nats-server.ts'
import { describeNats } from '../rig/needs.ts'

const run = promisify(execFile)

await describeNats('streams that are made, found, checked and changed', (version) => {
  let server: Awaited<ReturnType<typeof startNats>>
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterAll(() => server.stop())
  const manager = async () => {
    const nc = await server.connect()
    return { nc, jsm: await jetstreamManager(nc) }
  }

  test("a plain topic is Coze's stream; a definition is one stream, with a partition behind the name of a keyed message", async () => {
    await using bus = await connect(server.url)
    await bus.publish('opencoze.knowledge', 1)
    const docs = topic('docs.{space}.{event}', { key: (doc: { id: string }) => doc.id })
    await bus.publish(docs.with({ space: '7', event: 'added' }), { id: 'd1' })
    await bus.publish('docs.8.added', { id: 'd2' })
    const { nc, jsm } = await manager()
    expect((await jsm.streams.info('opencoze_knowledge_STREAM')).config.subjects).toEqual(['opencoze.knowledge'])
    const info = await jsm.streams.info('docs_ANY_ANY_STREAM', { subjects_filter: '>' })
    expect(info.config.subjects).toEqual(['docs.*.*', 'docs.*.*._k.*'])
    expect(Object.keys(info.state.subjects!).sort()).toEqual([expect.stringMatching(/^docs\.7\.added\._k\.\d+$/), 'docs.8.added'])
    await nc.close()
  })

  test('a stream that captures the subject already is used, whatever its name', async () => {
    const { nc, jsm } = await manager()
    await jsm.streams.add({ name: 'THEIRS', subjects: ['orders.>'] })
    await using bus = await connect(server.url)
    const got: unknown[] = []
    await bus.subscribe('orders.eu.new', { group: 'g' }, (message) => void got.push(message.body))
    await bus.publish('orders.eu.new', 1)
    await expect.poll(() => got).toEqual([1])
    expect((await jsm.streams.info('THEIRS')).state.messages).toBe(1)
    await nc.close()
  })

  test("a stream of the topic's name that holds something else is a conflict that says so", async () => {
    const { nc, jsm } = await manager()
    await jsm.streams.add({ name: 'taken_STREAM', subjects: ['something.else'] })
    await using bus = await connect(server.url)
    await expect(bus.publish('taken', 1)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('something.else') })
    await nc.close()
  })

  test('verify and off make nothing; verify shows what differs; apply changes it, and says what it cannot', async () => {
    const { nc, jsm } = await manager()
    await jsm.streams.add({ name: 'drift_STREAM', subjects: ['drift'], duplicate_window: 5e9, allow_direct: true })
    const open = (nats: object) => connect(server.url, { nats })
    for (const provision of ['verify', 'off']) {
      await using bus = await open({ provision })
      await expect(bus.publish(`none.${provision}`, 1)).rejects.toMatchObject({
        code: 'not_found',
        message: expect.stringContaining(provision),
      })
    }
    await using verifying = await open({ provision: 'verify' })
    await expect(verifying.publish('drift', 1)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/duplicate_window is 5000000000, asked for is 120000000000/),
    })
    await using taking = await open({ provision: 'create' })
    await taking.publish('drift', 1)
    expect((await jsm.streams.info('drift_STREAM')).config.duplicate_window).toBe(5e9)
    await using applying = await open({ provision: 'apply' })
    await applying.publish('drift', 2)
    expect((await jsm.streams.info('drift_STREAM')).config.duplicate_window).toBe(120e9)
    await jsm.streams.add({ name: 'mem_STREAM', subjects: ['mem'], storage: StorageType.Memory })
    await expect(applying.publish('mem', 1)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('storage is memory'),
    })
    await nc.close()
  })

  test('more copies than there are servers is an error', async () => {
    await using bus = await connect(server.url, { nats: { replicas: 3 } })
    await expect(bus.publish('copies', 1)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('no cluster'),
    })
  })

  test('the bus says of itself what the server made of what it asked for', async () => {
    const { nc, jsm } = await manager()
    await jsm.streams.add({ name: 'THEIRS_IN_MEMORY', subjects: ['in.memory'], storage: StorageType.Memory, duplicate_window: 1e9 })
    await nc.close()
    await using limited = await startNats({ version, jetstream: 'limits { duplicate_window: "30s" }' })
    await using bus = await connect(limited.url)
    expect(bus.status().capabilities).toMatchObject({ durability: 'page-cache', dedupeWindowMs: 120_000 })
    await bus.publish('any', 1)
    expect(bus.status().capabilities).toMatchObject({ durability: 'page-cache', dedupeWindowMs: 30_000 })
    await using asking = await connect(limited.url, { nats: { dedupeWindowMs: 60_000 } })
    await expect(asking.publish('more', 1)).rejects.toMatchObject({ code: 'invalid_argument', message: expect.stringContaining('30s') })
    await using inMemory = await connect(server.url, { nats: { storage: 'memory' } })
    expect(inMemory.status().capabilities.durability).toBe('memory')
    await using other = await connect(server.url)
    await other.publish('in.memory', 1)
    expect(other.status().capabilities).toMatchObject({ durability: 'memory', dedupeWindowMs: 120_000 })
  })

  test('a durable that is there under another name is used for the group', async () => {
    const { nc, jsm } = await manager()
    await using bus = await connect(server.url, { nats: { durables: { indexer: 'cg_index' } } })
    await bus.publish('named', 1)
    await jsm.consumers.add('named_STREAM', { durable_name: 'cg_index', ack_policy: AckPolicy.Explicit, filter_subject: 'named' })
    const got: unknown[] = []
    await bus.subscribe('named', { group: 'indexer' }, (message) => void got.push(message.body))
    await expect.poll(() => got).toEqual([1])
    await expect.poll(async () => (await jsm.consumers.info('named_STREAM', 'cg_index')).ack_floor.stream_seq).toBe(1)
    expect(await jsm.consumers.list('named_STREAM').next()).toHaveLength(1)
    await nc.close()
  })

  test('a durable on which the server gives up is refused with the command that mends it, and mended by apply: no message is lost by it', async () => {
    const { nc, jsm } = await manager()
    const open = (nats: object) => connect(server.url, { nats })
    const failing = async (bus: Bus, topic: string): Promise<void> => {
      const work = await bus.subscribe(topic, { group: 'g', retry: { attempts: 5, initial: 20, max: 40 } }, () => {
        throw new Error('no')
      })
      await bus.publish(topic, 1)
      await expect.poll(async () => (await bus.admin.deadLetters(topic, 'g').list()).length, { timeout: 10_000 }).toBe(1)
      await work.close()
    }
    const limited = async (topic: string): Promise<void> => {
      await jsm.streams.add({ name: `${topic}_STREAM`, subjects: [topic] })
      await jsm.consumers.add(`${topic}_STREAM`, {
        durable_name: 'g',
        ack_policy: AckPolicy.Explicit,
        max_deliver: 3,
        filter_subject: topic,
      })
    }
    await limited('given_up')
    await using bus = await open({})
    const refused: Error = await bus
      .subscribe('given_up', { group: 'g' }, () => {})
      .then(
        () => expect.fail('it joined'),
        (error) => error,
      )
    expect(refused).toMatchObject({ code: 'conflict', message: expect.stringContaining('max_deliver 3') })
    const [, line] = /`nats (.*?)`/.exec(refused.message)!
    await run(await natsCli(), ['--server', server.url, ...line!.split(' ')])
    await failing(bus, 'given_up')
    await limited('given_up_too')
    await using applying = await open({ provision: 'apply' })
    await failing(applying, 'given_up_too')
    await nc.close()
  })
})
