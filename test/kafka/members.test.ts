import { Consumer } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { type Bus, connect, topic } from '../../src/index.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('members of a group', () => {
  let broker: KafkaNode
  beforeAll(async () => {
    broker = await startKafka()
  }, 90_000)
  afterAll(() => broker.stop())

  const bus = (): Promise<Bus> =>
    connect(broker.url, { kafka: eager, drain: 500, defaults: { retry: { initial: 20, jitter: 'none' }, breaker: false } })
  const texts = (count: number): string[] => Array.from({ length: count }, (_, i) => `${i}`)

  test('R3: what is settled past a gap is not repeated by whoever takes the partition over', async () => {
    const first = await bus()
    const handled: string[] = []
    await first.subscribe('gap', { group: 'g', concurrency: 8 }, async ({ body }, { signal }) => {
      if (body === '0') await new Promise((resolve) => signal.addEventListener('abort', resolve))
      else handled.push(body as string)
    })
    for (const text of texts(30)) await first.publish('gap', text, { key: 'one' })
    await expect.poll(() => handled.length).toBe(29)
    await using second = await bus()
    const closing = first.close()
    const again: string[] = []
    await second.subscribe('gap', { group: 'g' }, ({ body }) => void again.push(body as string))
    await expect.poll(() => again.length, { timeout: 30_000 }).toBe(1)
    await closing
    await expect.poll(() => second.admin.lag('gap', 'g')).toBe(0)
    expect(again).toEqual(['0'])
  }, 60_000)

  test('R9: while a member that closes finishes a long job, the others have all but the partition of that job', async () => {
    const first = await connect(broker.url, { kafka: eager, drain: '2m' })
    await using second = await bus()
    const gate = Promise.withResolvers<void>()
    onTestFinished(async () => {
      gate.resolve()
      await first.close()
    })
    let begun = 0
    const options = { group: 'g', order: 'key' } as const
    await first.subscribe('drained', options, async () => {
      begun++
      await gate.promise
    })
    const partitionOf = ({ position }: { position: string | undefined }): number => Number.parseInt(position!, 10)
    const held = partitionOf(await second.publish('drained', 'long', { key: 'long' }))
    await expect.poll(() => begun).toBe(1)
    const got: string[] = []
    await second.subscribe('drained', options, ({ body }) => void got.push(body as string))
    const closing = first.close()
    const free: string[] = []
    const all = texts(40)
    for (const text of all) if (partitionOf(await second.publish('drained', text, { key: text })) !== held) free.push(text)
    expect(free.length).toBeGreaterThan(10)
    await expect.poll(() => got.length, { timeout: 30_000 }).toBe(free.length)
    expect([...got].sort()).toEqual([...free].sort())
    // What it still has is the group's, and would be gone with the topic.
    expect((await second.admin.groups('drained')).map(({ members }) => members)).toEqual([2])
    gate.resolve()
    await closing
    await expect.poll(() => got.length, { timeout: 30_000 }).toBe(40)
    expect([...got].sort()).toEqual([...all].sort())
  }, 90_000)

  test('R3: a member with another filter is refused while one is there', async () => {
    await using one = await bus()
    const docs = topic('filtered.{space}.{event}')
    await one.subscribe(docs.where({ event: 'added' }), { group: 'g' }, () => {})
    await expect(one.subscribe(docs.where({ event: 'removed' }), { group: 'g' }, () => {})).rejects.toMatchObject({
      code: 'filter_conflict',
    })
    await expect(one.subscribe(docs, { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'filter_conflict' })
    await (await one.subscribe(docs.where({ event: 'added' }), { group: 'g' }, () => {})).close()
  })

  test('R3: of members with two filters that come at the same moment one is refused', async () => {
    const docs = topic('apart.{space}.{event}')
    await using one = await bus()
    await using two = await bus()
    for (const each of [one, two]) await each.publish(docs.with({ space: '1', event: 'made' }), 1)
    const come = (each: Bus, event: string) => each.subscribe(docs.where({ event }), { group: 'g' }, () => {})
    const outcomes = await Promise.allSettled([come(one, 'added'), come(two, 'removed')])
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []))
    expect(refused).toEqual(['filter_conflict'])
  }, 60_000)

  test('R3: a group that reads several topics is moved on the one that has no member, or says why it cannot be', async () => {
    await using one = await bus()
    await (await one.subscribe('left', { group: 'both' }, () => {})).close()
    const work = await one.subscribe('right', { group: 'both' }, () => {})
    await expect(one.admin.reset('left', 'both', { to: 'earliest' })).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('other topics'),
    })
    await work.close()
    await one.admin.reset('left', 'both', { to: 'earliest' })
  })

  test('R3: a member that reads a topic its group did not begins there where it is told to', async () => {
    await using one = await bus()
    await one.publish('begun', 'old')
    await one.subscribe('other', { group: 'wide' }, () => {})
    await using two = await bus()
    const got: string[] = []
    await two.subscribe('begun', { group: 'wide', from: 'new' }, ({ body }) => void got.push(body as string))
    await one.publish('begun', 'new')
    await expect.poll(() => got).toEqual(['new'])
  })

  test('R3: retention deletes what is beyond it, and nothing that a group has not settled', async () => {
    await using one = await bus()
    const logs = topic('logs.{n}', { retention: { messages: 10 } })
    await (await one.subscribe(logs, { group: 'slow' }, () => {})).close()
    await one.publishMany(logs.with({ n: '1' }), texts(40), { key: 'k' })
    await new Promise((resolve) => setTimeout(resolve, 8000))
    const left = async (): Promise<number> => (await one.admin.topics()).find(({ storage }) => storage === logs.storage)!.messages
    expect(await left()).toBe(40)
    await one.subscribe(logs, { group: 'slow' }, () => {})
    await expect.poll(left).toBe(10)
    expect((await one.admin.browse(logs)).messages.map(({ body }) => body)).toEqual(texts(40).slice(30))
  }, 60_000)

  test('R3: a name longer than Kafka takes is kept whole', async () => {
    await using one = await bus()
    const long = `long.${'x'.repeat(200)}`
    let broken = true
    await one.subscribe(long, { group: 'a.group.with.a.long.name', retry: { attempts: 1 } }, () => {
      if (broken) throw new Error('broken')
    })
    const { id } = await one.publish(long, 'x', { key: 'k' })
    const desk = one.admin.deadLetters(long, 'a.group.with.a.long.name')
    await expect.poll(() => desk.count()).toBe(1)
    broken = false
    expect(await desk.replay([(await desk.list())[0]!.id])).toBe(1)
    await expect.poll(async () => one.admin.lag(long, 'a.group.with.a.long.name')).toBe(0)
    expect(await desk.count()).toBe(0)
    expect((await one.admin.browse(long)).messages.map((message) => message.id)).toEqual([id])
  })

  test('R3: members of the newer protocol are seen: they are counted, and keep their topic from being deleted', async () => {
    const engine = await openKafka(broker.url, eager)
    onTestFinished(() => engine.close())
    await engine.admin.declare('newer')
    const reader = new Consumer({
      clientId: 'newer',
      bootstrapBrokers: [broker.address],
      groupId: 'newer',
      groupProtocol: 'consumer',
      maxWaitTime: 100,
    })
    const stream = await reader.consume({ topics: ['newer'], mode: 'earliest', autocommit: false })
    const leave = async (): Promise<void> => {
      await stream.close()
      await reader.close()
    }
    let gone: Promise<void> | undefined
    onTestFinished(() => (gone ??= leave()))
    const deleting = () =>
      engine.admin.deleteTopic('newer').then(
        () => '',
        (error: { message: string }) => error.message,
      )
    expect(await deleting()).toMatch(/group 'newer' has 1 members/)
    await (gone ??= leave())
    await expect.poll(deleting).toBe('')
  }, 60_000)
})
