import { Admin, Consumer } from '@platformatic/kafka'
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import type { Engine } from '../../src/engines/engine.ts'
import { openKafka } from '../../src/engines/kafka/engine.ts'
import { outgoing, Seat } from '../../src/testing/seat.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

const [any, topicResource, groupResource, literal, deny, allow, read, describe] = [1, 2, 3, 3, 2, 3, 3, 8] as const
const users = { coze: 'secret', root: 'rooted' }

const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => '',
    (error: { code: string }) => error.code,
  )

await describeKafka('a topic, or a group, that a user may not read any more', () => {
  let broker: KafkaNode
  let admin: Admin
  let engine: Engine
  beforeAll(async () => {
    broker = await startKafka({
      users,
      extra: {
        'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users': 'User:ANONYMOUS;User:root',
        'allow.everyone.if.no.acl.found': 'true',
      },
    })
    admin = new Admin({
      clientId: 'test',
      bootstrapBrokers: [broker.address],
      sasl: { mechanism: 'PLAIN', username: 'root', password: users.root },
    })
    engine = await openKafka(broker.url, { ...eager, partitions: 1, user: 'coze', password: users.coze })
  }, 90_000)
  const allowAll = async (): Promise<void> => {
    const everything = { resourceType: any, resourceName: null, resourcePatternType: any, principal: null, host: null }
    await admin.deleteAcls({ filters: [{ ...everything, operation: any, permissionType: any }] } as never)
  }
  afterEach(allowAll)
  afterAll(async () => {
    await engine.close()
    await admin.close()
    await broker.stop()
  })

  const forbid = (
    resourceName: string,
    operation: typeof read | typeof describe,
    permissionType: typeof deny | typeof allow = deny,
    resourceType: typeof topicResource | typeof groupResource = topicResource,
  ): Promise<void> =>
    admin.createAcls({
      creations: [
        {
          resourceType,
          resourceName,
          resourcePatternType: literal,
          principal: 'User:coze',
          host: '*',
          operation,
          permissionType,
        },
      ],
    })
  const send = async (storage: string, body: string): Promise<void> => {
    const [outcome] = await engine.publish([outgoing(storage, body)])
    expect(outcome).toMatchObject({ ok: true })
  }

  test.each([
    ['be read', read],
    ['be seen', describe],
  ] as const)(
    'holds up no other of its group where it may not %s, and is told',
    async (_, operation) => {
      const [open, shut] = ['open', 'shut'].map((name) => `${name}.${operation}`) as [string, string]
      const source = (storage: string) => ({ storage, filter: undefined, lanes: storage, from: 'earliest' }) as const
      // What may not be read first: its answer stands before the other's.
      const seat = await Seat.take(engine, shut, { sources: [source(shut), source(open)] })
      seat.grant(100)
      await send(shut, '1')
      await send(open, '2')
      await expect.poll(() => seat.texts.sort()).toEqual(['1', '2'])
      await seat.ack(...seat.deliveries)
      await send(shut, 'in hand')
      await expect.poll(() => seat.texts.length).toBe(3)
      await forbid(shut, operation)
      await expect.poll(() => seat.warnings.join(), { timeout: 10_000 }).toMatch(new RegExp(`${shut}.*cannot be read.*AUTHORIZATION`))
      await send(open, '3')
      await expect.poll(() => seat.texts).toContain('3')
      expect(await seat.ack(...seat.deliveries.slice(2))).toEqual(['sent', 'confirmed'])
      // Who leads what has to be asked for anew, for both.
      await broker.restart()
      await send(open, '4')
      await expect.poll(() => seat.texts).toContain('4')
      await seat.close()
    },
    60_000,
  )

  test('R3: a group of the newer protocol that reads it, too, holds up no question about others', async () => {
    for (const storage of ['seen', 'unseen']) await send(storage, '1')
    const reader = new Consumer({
      clientId: 'newer',
      bootstrapBrokers: [broker.address],
      sasl: { mechanism: 'PLAIN', username: 'root', password: users.root },
      groupId: 'newer',
      groupProtocol: 'consumer',
      maxWaitTime: 100,
    })
    const stream = await reader.consume({ topics: ['unseen'], mode: 'earliest', autocommit: false })
    onTestFinished(async () => {
      await stream.close()
      await reader.close()
    })
    await forbid('unseen', describe)
    await expect.poll(() => codeOf(engine.read('unseen', 'start', 1))).toBe('forbidden')
    expect(await engine.admin.groups('seen')).toEqual([])
    await engine.admin.deleteTopic('seen')
  }, 60_000)

  test('is left out of a pattern that is subscribed to, and named', async () => {
    for (const storage of ['many.a', 'many.shut', 'many.z']) await send(storage, '"old"')
    await forbid('many.shut', read)
    // Without one that allows it, what has any rule at all is not seen.
    await forbid('many.shut', describe, allow)
    await expect.poll(() => codeOf(engine.read('many.shut', 'start', 1))).toBe('forbidden')
    await using bus = await connect(broker.url, {
      kafka: { ...eager, partitions: 1, user: 'coze', password: users.coze },
      ledger: 'memory:',
    })
    const got: string[] = []
    const work = await bus.subscribe('many.*', { group: 'many' }, ({ topic }) => void got.push(topic))
    await expect.poll(() => got.sort()).toEqual(['many.a', 'many.z'])
    expect(work.status().refused).toEqual([expect.stringContaining('many.shut')])
    await bus.publish('many.new', 'new')
    await expect.poll(() => got.sort()).toEqual(['many.a', 'many.new', 'many.z'])
  }, 60_000)

  test('is left out by who listens live to many, and refused where it is the one', async () => {
    for (const storage of ['live.a', 'live.shut', 'live.z']) await send(storage, 'old')
    await forbid('live.shut', describe)
    await expect.poll(() => codeOf(engine.live!.subscribe('live.shut', () => {}))).toBe('forbidden')
    const heard: string[] = []
    const listening = await engine.live!.subscribe('live.*', (batch) =>
      heard.push(...batch.map(({ storage, body }) => `${storage} ${Buffer.from(body)}`)),
    )
    for (const storage of ['live.a', 'live.z']) await send(storage, 'new')
    await expect.poll(() => heard.sort()).toEqual(['live.a new', 'live.z new'])
    await listening.close()
  }, 30_000)

  test.each([
    ['have members of', read],
    ['see', describe],
  ] as const)(
    'R8: a group that it may not %s is refused at start; later it is told of, and goes on once it may be',
    async (_, operation) => {
      const [topic, open, shut] = ['grouped', 'open', 'shut'].map((name) => `${name}.${operation}`) as [string, string, string]
      await using bus = await connect(broker.url, {
        kafka: { ...eager, partitions: 1, user: 'coze', password: users.coze },
        ledger: 'memory:',
      })
      const got: unknown[] = []
      const subscribe = (group: string) => bus.subscribe(topic, { group }, ({ body }) => void got.push(body))
      await forbid(shut, operation, deny, groupResource)
      await expect
        .poll(() =>
          subscribe(shut).then(
            (work) => work.close().then(() => ''),
            (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
          ),
        )
        .toMatch(new RegExp(`^forbidden: group '${shut}'.*GROUP_AUTHORIZATION_FAILED`))
      const work = await subscribe(open)
      await bus.publish(topic, 1)
      await expect.poll(() => got).toEqual([1])
      await forbid(open, operation, deny, groupResource)
      // Whoever leads its group is asked for anew, and everything of the group with it.
      await broker.restart()
      await expect.poll(() => work.status().trouble, { timeout: 30_000 }).toMatch(/GROUP_AUTHORIZATION_FAILED/)
      await allowAll()
      await bus.publish(topic, 2)
      await expect.poll(() => got, { timeout: 30_000 }).toContain(2)
      await expect.poll(() => work.status().trouble, { timeout: 30_000 }).toBeUndefined()
    },
    120_000,
  )
})
