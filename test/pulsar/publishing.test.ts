import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { PublishOutcome } from '../../src/engines/engine.ts'
import type { Cluster } from '../../src/engines/pulsar/cluster.ts'
import { refusedMessage, serverError } from '../../src/engines/pulsar/failure.ts'
import { Http } from '../../src/engines/pulsar/http.ts'
import { Producer } from '../../src/engines/pulsar/producer.ts'
import { Publishing } from '../../src/engines/pulsar/publishing.ts'
import { Topics } from '../../src/engines/pulsar/topics.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { FakeBroker } from './fake-broker.ts'
import { busAt, fresh, roundTrip } from './support.ts'

describe('what a broker answers to one message', () => {
  const producing = (broker: FakeBroker) => {
    const producer = new Producer(broker.cluster, 't')
    onTestFinished(() => producer.close())
    return (body: string, metadata: object = {}): Promise<string> =>
      new Promise((resolve) => {
        const done = (outcome: PublishOutcome): void => resolve(outcome.ok ? 'stored' : outcome.error.code)
        producer.send({ metadata: { publish_time: 1, properties: [], ...metadata }, payload: Buffer.from(body), done })
      })
  }

  test.each([
    ['message_too_large', serverError.notAllowed, 'Exceed maximum message size'],
    ['publish_rejected', serverError.checksum, 'checksum failed'],
    ['publish_rejected', serverError.metadata, 'no metadata'],
  ] as const)('%s: it alone is refused, those beside it are stored once', async (code, number, text) => {
    const broker = new FakeBroker()
    broker.onSend = (body, { sequence, producer }) => {
      if (body !== 'bad') return 'stored'
      producer.refused(sequence, refusedMessage(number, text))
      return 'said'
    }
    const send = producing(broker)
    expect(await Promise.all(['bad', 'a', 'b', 'c'].map((body) => send(body)))).toEqual([code, 'stored', 'stored', 'stored'])
    expect(broker.stored).toEqual(['a', 'b', 'c'])
  })

  test.each([serverError.persistence, serverError.serviceNotReady])(
    'that the topic takes nothing now (error %i): it goes again, and what was stored meanwhile does not',
    async (number) => {
      const broker = new FakeBroker()
      let refusals = 0
      broker.onSend = (body, { sequence, producer }) => {
        if (body !== 'first' || refusals++ > 0) return 'stored'
        producer.refused(sequence, refusedMessage(number, 'fenced'))
        return 'said'
      }
      // Time for the receipts that are on their way.
      broker.onAsk = (command) => (command === 'closeProducer' ? new Promise((resolve) => setTimeout(resolve, 100, {})) : undefined)
      const send = producing(broker)
      expect(await Promise.all(['first', 'a', 'b'].map((body) => send(body)))).toEqual(['stored', 'stored', 'stored'])
      expect(broker.stored.toSorted()).toEqual(['a', 'b', 'first'])
    },
  )

  test('what is too large with its headers is refused before it is sent', async () => {
    const broker = new FakeBroker()
    const send = producing(broker)
    const large = { properties: [{ key: 'large', value: 'x'.repeat(broker.connection.maxMessageBytes) }] }
    expect(await Promise.all([send('a'), send('b', large), send('c')])).toEqual(['stored', 'message_too_large', 'stored'])
    expect(broker.stored).toEqual(['a', 'c'])
  })
})

describe('many topics', () => {
  const outgoing = (n: number) => ({
    storage: 't',
    name: 't',
    id: `${n}`,
    key: undefined,
    headers: undefined,
    body: Buffer.from(`${n}`),
    at: 1,
    deliverAt: undefined,
  })

  test('a producer that has nothing to do is closed, and is there again when it has', async () => {
    const broker = new FakeBroker()
    const topics = { known: () => ['t'] } as unknown as Topics
    const publishing = new Publishing(broker.cluster, topics, 1000, 50)
    onTestFinished(() => publishing.close())
    const said = () => broker.told.map(({ command }) => command)
    for (const n of [1, 2]) {
      expect(await publishing.publish([outgoing(n)])).toMatchObject([{ ok: true }])
      await expect.poll(() => said().filter((command) => command === 'closeProducer').length).toBe(n)
    }
    expect(said()).toEqual(['producer', 'closeProducer', 'producer', 'closeProducer'])
  })

  test('the namespace is listed once for those that are new, and not for one that is known', async () => {
    let listed = 0
    const cluster = { options: {}, namespace: 'n/n', topics: async () => [`t${++listed}`, 'a', 'b'], partitions: async () => 0 }
    const http = { ask: async () => ({}) } as unknown as Http
    const topics = new Topics(cluster as unknown as Cluster, http)
    await Promise.all(['a', 'b'].map((name) => topics.ensure(name)))
    expect(listed).toBe(1)
    const now = performance.now()
    const clock = vi.spyOn(performance, 'now').mockReturnValue(now + 60_000)
    onTestFinished(() => clock.mockRestore())
    // It got partitions.
    cluster.partitions = async () => 2
    expect(topics.known('a')).toEqual(['a'])
    await expect.poll(() => topics.known('a')).toEqual(['a-partition-0', 'a-partition-1'])
    expect(listed).toBe(1)
  })

  test('of many questions over HTTP 16 are asked at once', async () => {
    let most = 0
    let open = 0
    const server = createServer((_, answer) => {
      most = Math.max(most, ++open)
      setTimeout(() => {
        open--
        answer.end('{}')
      }, 20)
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const http = new Http(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {})
    await Promise.all(Array.from({ length: 100 }, (_, i) => http.ask('GET', `/${i}`)))
    expect(most).toBe(16)
  })
})

await describePulsar('publishing', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())

  test('above the limit of its topic, or with headers above that of the broker: refused alone, and the rest stored once', async () => {
    const topic = fresh('limited')
    const bus = await busAt(broker.url, { admin: broker.admin })
    await roundTrip(bus, topic)
    await broker.ask(`/admin/v2/persistent/public/default/${topic}/maxMessageSize`, { method: 'POST', body: 10_000 })
    // The policy reaches the topic by a topic of its own.
    await expect
      .poll(async () =>
        bus.publish(topic, 'x'.repeat(20_000)).then(
          () => 'stored',
          (error: unknown) => (error as { code: string }).code,
        ),
      )
      .toBe('message_too_large')
    const got: unknown[] = []
    await bus.subscribe(topic, { group: 'later', from: 'new' }, ({ body }) => void got.push(body))
    const outcomes = await bus.publishMany(topic, ['x'.repeat(20_000), 'a', 'b', 'c'])
    expect(outcomes.map((outcome) => (outcome.ok ? 'stored' : outcome.error.code))).toEqual([
      'message_too_large',
      'stored',
      'stored',
      'stored',
    ])

    const other = fresh('headers')
    const headers = { large: 'x'.repeat(100_000) }
    const most = bus.status().capabilities.maxMessageBytes - 100
    const large = bus.publish(other, Buffer.alloc(most), { headers })
    await expect(large).rejects.toMatchObject({ code: 'message_too_large', message: expect.stringContaining('headers') })
    await roundTrip(bus, other)
    await expect.poll(() => got).toEqual(['a', 'b', 'c'])
  })
})
