import { once } from 'node:events'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { headers, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { patientApi } from '../../src/engines/nats/api.ts'
import { ownersBucket, streamName } from '../../src/engines/nats/names.ts'
import { connect } from '../../src/index.ts'
import { newId } from '../../src/message/id.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { Load } from './load.ts'

await describeNats('the members of a group', (version) => {
  let server: NatsNode
  let nc: NatsConnection
  let load: Load | undefined
  beforeAll(async () => {
    server = await startNats({ version })
    nc = await server.connect()
  })
  afterEach(async () => {
    await load?.end()
    load = undefined
  })
  afterAll(async () => {
    await nc.close()
    await server.stop()
  })

  /** How many parts each member owns; nothing where a part has no owner. */
  async function owned(scopes: number): Promise<number[]> {
    const kv = await new Kvm(nc).open(ownersBucket)
    const counts = new Map<string, number>()
    let parts = 0
    for await (const key of await kv.keys('p.>')) {
      const owner = (await kv.get(key))!.string()
      if (owner === '' || owner === '!') continue
      parts++
      counts.set(owner, (counts.get(owner) ?? 0) + 1)
    }
    return parts === scopes ? [...counts.values()].sort((a, b) => a - b) : []
  }

  test('ten work as ten; parts are shared evenly as members join and leave, and handed over without a repeat', async () => {
    load = new Load(() => server.url, { partitioned: true, workMs: 60, keys: 64 })
    await load.join(1)
    await load.start()
    await load.join(9)
    await expect.poll(() => owned(16)).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    await expect.poll(() => load!.mostAtOnce).toBe(10)
    for (let i = 0; i < 7; i++) await load.leave()
    await expect.poll(() => owned(16)).toEqual([5, 5, 6])
    expect(await load.judge()).toMatchObject({ repeats: 0, failed: 0 })
  }, 60_000)

  test('consumers that are deleted under load are made again where the group stood', async () => {
    load = new Load(() => server.url)
    await load.join(2)
    await load.start()
    await load.recovered()
    const api = patientApi(await jetstreamManager(nc))
    for (let i = 0; i < 3; i++) {
      await api.consumers.delete(streamName(load.storage), 'g')
      await load.recovered()
    }
    await load.judge()
  }, 60_000)

  test('a reader of the durable that knows nothing of owners ends nothing, and is told of', async () => {
    load = new Load(() => server.url)
    await load.join(2)
    await load.start()
    await load.recovered()
    const warned = once(process, 'warning')
    const consumer = await jetstream(nc).consumers.get(streamName(load.storage), 'g')
    const taken: unknown[] = []
    const stranger = (async () => {
      for (let told = false; !told; told = (await Promise.race([warned, undefined])) !== undefined)
        for await (const message of await consumer.fetch({ max_messages: 5, expires: 1000 })) {
          taken.push(message.seq)
          message.ack()
        }
    })()
    const [warning] = await warned
    expect(warning).toMatchObject({ code: 'order_shared', message: expect.stringContaining("consumer 'g'") })
    await stranger
    expect(taken.length).toBeGreaterThan(0)
    await load.recovered()
  }, 60_000)

  test('a durable that somebody else made is not made anew for its next owner, though others wait for messages of it', async () => {
    const name = `theirs.${newId()}`
    const jsm = await jetstreamManager(nc)
    await jsm.streams.add({ name: streamName(name), subjects: [name] })
    const made = await jsm.consumers.add(streamName(name), { durable_name: 'g', ack_policy: AckPolicy.Explicit })
    await using bus = await connect(server.url)
    const got: unknown[] = []
    const join = () => bus.subscribe(name, { group: 'g', order: 'key' }, ({ body }) => void got.push(body))
    await (await join()).close()
    const waiting = await (await jetstream(nc).consumers.get(streamName(name), 'g')).fetch({ max_messages: 1, expires: 5000 })
    await join()
    for (let i = 0; i < 3; i++) await bus.publish(name, i, { key: 'k' })
    for await (const message of waiting) {
      got.push(message.json())
      message.ack()
    }
    await expect.poll(() => [...got].sort()).toEqual([0, 1, 2])
    expect((await jsm.consumers.info(streamName(name), 'g')).created).toEqual(made.created)
  }, 30_000)

  test('a stream that is deleted and published to again is read from its start', async () => {
    await using bus = await connect(server.url)
    const name = `again.${newId()}`
    const got: [string, unknown][] = []
    await bus.subscribe(name, { group: 'ordered', order: 'topic' }, ({ body }) => void got.push(['ordered', body]))
    await bus.subscribe(name, { group: 'plain' }, ({ body }) => void got.push(['plain', body]))
    for (let i = 0; i < 5; i++) await bus.publish(name, i)
    await expect.poll(() => got.length).toBe(10)
    await (await jetstreamManager(nc)).streams.delete(streamName(name))
    for (let i = 5; i < 8; i++) await bus.publish(name, i)
    await expect.poll(() => got.length).toBe(16)
    expect(got.filter(([group]) => group === 'ordered').map(([, body]) => body)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  }, 30_000)

  test('what cannot be read, and a handler that throws, ends the reading of nothing else', async () => {
    await using bus = await connect(server.url, { defaults: { retry: { attempts: 1 } } })
    const name = `broken.${newId()}`
    const got: unknown[] = []
    await bus.subscribe(name, { group: 'g' }, ({ body }) => {
      if (body === 'throws') throw new Error('thrown by the handler')
      got.push(body)
    })
    await bus.publish(name, 'throws')
    const bad = headers()
    bad.set('cozebus-key', '%E0%A4%A')
    bad.set('cozebus-e-x', '%')
    nc.publish(name, '"with broken headers"', { headers: bad })
    nc.publish(name, '{ no json')
    nc.publish('_cozebus.ledger.pauses.%', '')
    await nc.flush()
    await bus.publish(name, 'good')
    await expect.poll(() => [...got].sort()).toEqual(['good', 'with broken headers'])
    await expect.poll(() => bus.admin.deadLetters(name, 'g').count()).toBe(2)
  })

  test('a group asks the API of the server for little, idle and busy', async () => {
    load = new Load(() => server.url, { partitioned: true, lease: '30s' })
    await load.join(10)
    await expect.poll(() => owned(16).then(({ length }) => length)).toBe(10)
    const asked = new Map<string, number>()
    const ear = nc.subscribe('$JS.API.>', {
      callback: (_, { subject }) => {
        const what = subject
          .split('.')
          .slice(2, subject.includes('MSG.NEXT') ? 5 : 4)
          .join('.')
        asked.set(what, (asked.get(what) ?? 0) + 1)
      },
    })
    const during = async (seconds: number): Promise<Record<string, number>> => {
      asked.clear()
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
      return Object.fromEntries([...asked].map(([what, count]) => [what, Math.round((count / seconds) * 10) / 10]))
    }
    const idle = await during(5)
    await load.start()
    const busy = await during(5)
    ear.unsubscribe()
    // Seen: idle 0 and 2.6 a second; pulls 13 idle, for sixteen parts and ten members.
    for (const rates of [idle, busy]) expect(rates['CONSUMER.INFO'] ?? 0).toBeLessThan(10)
    expect(idle['CONSUMER.MSG.NEXT']!).toBeLessThan(60)
    await load.judge()
  }, 60_000)
})
