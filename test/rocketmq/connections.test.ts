import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { freePorts } from '../rig/ports.ts'
import { type RocketmqCluster, startRocketmq } from '../rig/rocketmq.ts'
import { busAt, eager, refusal, roundTrip } from './support.ts'

const accessKey = 'coze'
const secretKey = 'a-long-secret-of-coze'

await describeRocketmq('connecting', () => {
  describe('to brokers with ACL', () => {
    let brokers: RocketmqCluster
    beforeAll(async () => {
      brokers = await startRocketmq({ user: { accessKey, secretKey } })
    }, 90_000)
    afterAll(() => brokers.stop())

    test('with its keys: publish, subscribe, batches, retries, lag', async () => {
      const bus = await busAt(brokers.url, { accessKey, secretKey: () => secretKey })
      await roundTrip(bus)
      const runs: unknown[] = []
      await bus.subscribe('keyed', { group: 'g', order: 'key', retry: { initial: 20 } }, ({ body }) => {
        if (runs.push(body) === 1) throw new Error('once')
      })
      await bus.publishMany('keyed', [1, 2, 3], { key: 'k' } as never)
      await expect.poll(() => runs).toEqual([1, 1, 2, 3])
      await expect.poll(() => bus.admin.lag('keyed', 'g')).toBe(0)
    })

    test('wrong keys are refused at once, and told nowhere', async () => {
      const error = await refusal(brokers.url, { accessKey, secretKey: 'wrong-secret' })
      expect(error.code).toBe('unauthorized')
      expect(error.message).toContain('rocketmq.secretKey')
      expect(error.message).not.toContain('wrong-secret')
    })

    test('without keys one is not let in', async () => {
      expect(['unauthorized', 'forbidden']).toContain((await refusal(brokers.url)).code)
    })
  })

  describe('to a broker', () => {
    let brokers: RocketmqCluster
    beforeAll(async () => {
      brokers = await startRocketmq()
    }, 90_000)
    afterAll(() => brokers.stop())

    test('several name servers: one that is there is enough', async () => {
      const [free] = await freePorts(1)
      await roundTrip(await busAt(`rocketmq://127.0.0.1:${free},${brokers.nameServer.address}`))
    })

    test('the port of a broker, where that of a name server is wanted', async () => {
      const error = await refusal(`rocketmq://${brokers.brokers[0]!.address}`)
      expect(error.code).toBe('invalid_argument')
      expect(error.message).toContain('9876')
    })

    test('TLS where it is not spoken', async () => {
      expect((await refusal(brokers.url, { tls: {}, connectTimeoutMs: 1000 })).code).toBe('engine_unavailable')
    })

    test('a topic that is missing, where none may be made', async () => {
      const bus = await busAt(brokers.url, { createTopics: false })
      await expect(bus.publish('nowhere', 1)).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('createTopics') })
      await expect(bus.subscribe('nowhere', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'not_found' })
    })

    test('it is killed and comes back: what is published meanwhile is confirmed, what was subscribed goes on', async () => {
      const bus = await busAt(brokers.url)
      const got: number[] = []
      await bus.subscribe('steady', { group: 'g' }, ({ body }) => void got.push(body as number))
      await bus.publish('steady', 1)
      await expect.poll(() => got).toEqual([1])
      const [broker] = brokers.brokers
      await broker!.kill()
      await expect.poll(async () => (await bus.health()).ok).toBe(false)
      const meanwhile = bus.publish('steady', 2)
      await broker!.start()
      await meanwhile
      await expect.poll(() => got).toEqual([1, 2])
      await expect.poll(async () => (await bus.health()).ok).toBe(true)
      await roundTrip(bus)
    }, 90_000)

    test('one that is not there yet is waited for, where that is asked', async () => {
      const [broker] = brokers.brokers
      await broker!.kill()
      const waiting = connect(brokers.url, { ledger: memoryLedger(), rocketmq: { ...eager, waitForServer: 60_000 } })
      await broker!.start()
      await using bus = await waiting
      await roundTrip(bus)
    }, 90_000)

    test('a name server that is away is not missed by what is known', async () => {
      const bus = await busAt(brokers.url)
      const got: unknown[] = []
      await bus.subscribe('known', { group: 'g' }, ({ body }) => void got.push(body))
      await bus.publish('known', 1)
      await brokers.nameServer.kill()
      for (let i = 2; i <= 5; i++) await bus.publish('known', i)
      await expect.poll(() => got.length).toBe(5)
      await brokers.nameServer.start()
    }, 60_000)
  })

  describe('to two brokers', () => {
    let brokers: RocketmqCluster
    beforeAll(async () => {
      brokers = await startRocketmq({ brokers: 2 })
    }, 90_000)
    afterAll(() => brokers.stop())

    test('a topic has queues on both: all of it is read, in order by key, and browsed', async () => {
      const bus = await busAt(brokers.url)
      const got = new Map<string, number[]>()
      await bus.subscribe('both', { group: 'g', order: 'key', concurrency: 8 }, ({ key, body }) => {
        got.set(key!, [...(got.get(key!) ?? []), body as number])
      })
      for (let i = 0; i < 60; i++) await bus.publish('both', i, { key: `k${i % 12}` })
      await expect.poll(() => [...got.values()].flat().length).toBe(60)
      for (const values of got.values()) expect(values).toEqual(values.toSorted((a, b) => a - b))
      const { messages } = await bus.admin.browse('both', { from: 'start', limit: 100 })
      expect(new Set(messages.map(({ position }) => position.split('/')[0]))).toEqual(new Set(['broker-a', 'broker-b']))
      expect(messages.length).toBe(60)
    })

    test('one of them is killed: a key whose queue it has waits for it, and keeps its order', async () => {
      const bus = await busAt(brokers.url)
      const got = new Map<string, number[]>()
      const take = ({ key, body }: { key: string | undefined; body: unknown }): void => {
        got.set(key!, [...(got.get(key!) ?? []), body as number])
      }
      await bus.subscribe('waits', { group: 'g', order: 'key', concurrency: 8 }, take)
      const keys = Array.from({ length: 12 }, (_, i) => `k${i}`)
      const where = new Map<string, string>()
      for (const key of keys) where.set(key, (await bus.publish('waits', 0, { key })).position!.split('/')[0]!)
      expect(new Set(where.values())).toEqual(new Set(['broker-a', 'broker-b']))
      const [, second] = brokers.brokers
      await second!.kill()
      // Who connects now finds one master only.
      const late = await busAt(brokers.url, {}, { ledger: memoryLedger() })
      const sent = keys.map(async (key) => [key, (await late.publish('waits', 1, { key })).position!.split('/')[0]!] as const)
      const here = keys.filter((key) => where.get(key) === 'broker-a')
      await expect.poll(() => here.every((key) => got.get(key)?.length === 2), { timeout: 20_000 }).toBe(true)
      await second!.start()
      expect(new Map(await Promise.all(sent))).toEqual(where)
      await expect.poll(() => keys.every((key) => got.get(key)?.length === 2), { timeout: 30_000 }).toBe(true)
      for (const values of got.values()) expect(values).toEqual([0, 1])
    }, 120_000)

    test('one of them is killed: what has no key goes to the other, and what it has is read when it is back', async () => {
      const bus = await busAt(brokers.url)
      const got = new Set<unknown>()
      await bus.subscribe('half', { group: 'g' }, ({ body }) => void got.add(body))
      for (let i = 0; i < 20; i++) await bus.publish('half', i)
      const [, second] = brokers.brokers
      await second!.kill()
      // One that was on its way as it died waits for it, to look whether it is there.
      const sent: Promise<unknown>[] = []
      let confirmed = 0
      for (let i = 20; i < 40; i++) {
        const one = bus.publish('half', i).then(() => confirmed++)
        sent.push(one)
        await Promise.race([one, sleep(500)])
      }
      expect(confirmed).toBeGreaterThan(10)
      await second!.start()
      await Promise.all(sent)
      for (let i = 40; i < 50; i++) await bus.publish('half', i)
      await expect.poll(() => got.size).toBe(50)
    }, 90_000)
  })

  test('nobody listens', async () => {
    const [free] = await freePorts(1)
    const error = await refusal(`rocketmq://127.0.0.1:${free}`)
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain(`127.0.0.1:${free}`)
  })

  test('something listens that is no RocketMQ', async () => {
    const web = createServer((socket) =>
      socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')).on('error', () => {}),
    )
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
    const error = await refusal(`rocketmq://127.0.0.1:${(web.address() as { port: number }).port}`)
    web.close()
    expect(error.code).toBe('engine_unavailable')
    expect(error.message).toContain('name server')
  })
})
