import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { connectEngine } from '../../src/bus.ts'
import { Connection } from '../../src/engines/nsq/connection.ts'
import { openNsq } from '../../src/engines/nsq/engine.ts'
import { rdy, req, sub } from '../../src/engines/nsq/protocol.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { describeNsq } from '../rig/needs.ts'
import type { NsqNode } from '../rig/nsq.ts'
import { freePorts } from '../rig/ports.ts'
import { startProxy } from '../rig/proxy.ts'
import { busAt, busOn, eager, nsqd } from './support.ts'

interface Stats {
  topics: { topic_name: string; channels: { depth: number; in_flight_count: number; deferred_count: number; requeue_count: number }[] }[]
}

const stats = async (node: NsqNode): Promise<Stats> => JSON.parse(await node.ask('/stats?format=json'))

/** Messages of the topic and of the private one of its group. */
const left = async (node: NsqNode): Promise<number[]> =>
  (await stats(node)).topics.map(({ channels }) =>
    channels.reduce((sum, one) => sum + one.depth + one.in_flight_count + one.deferred_count, 0),
  )

await describeNsq('messages that cannot stay where they are', () => {
  test('a job of three times nsqd’s longest lease runs once, whoever else is in its group', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 4000 })
    const buses = [await busOn(node), await busOn(node), await busOn(node)]
    const runs: string[] = []
    let aborted = 0
    for (const [i, bus] of buses.entries())
      await bus.subscribe('long', { group: 'g', lease: '2s', concurrency: 2 }, async ({ id, body }, { signal }) => {
        runs.push(`${i}: ${id}`)
        signal.addEventListener('abort', () => aborted++)
        await sleep(body === 'long' ? 12_500 : 5)
      })
    for (let i = 0; i < 3; i++) await buses[0]!.publish('long', 'long')
    for (let i = 0; i < 100; i++) {
      await buses[0]!.publish('long', 'short')
      await sleep(100)
    }
    await expect.poll(() => left(node), { timeout: 40_000 }).toEqual([0, 0])
    // On a machine that stands still for a second a lease may be lost: that is told, and costs one run more.
    expect(runs.length).toBe(103 + aborted)
    expect(aborted).toBeLessThanOrEqual(3)
  }, 70_000)

  test('a job that ends just as it is moved leaves nothing behind, and one that fails then is tried again', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 6000 })
    const bus = await busOn(node)
    const runs: number[] = []
    const works = await bus.subscribe(
      't',
      { group: 'g', lease: '3s', concurrency: 40, retry: { initial: 50 } },
      async ({ body }, { attempt }) => {
        runs.push(body as number)
        // About when they are moved, at 4.5 s, and taken up again a moment later.
        await sleep(4300 + (body as number) * 15)
        if (attempt === 1 && (body as number) % 3 === 0) throw new Error('once')
      },
    )
    for (let n = 0; n < 40; n++) await bus.publish('t', n)
    await expect.poll(() => works.status().handled, { timeout: 40_000 }).toBe(40)
    await expect.poll(() => left(node), { timeout: 15_000 }).toEqual([0, 0])
    // On a machine that stands still for seconds a lease may be lost: that is counted, and costs one run more at most.
    expect(runs.length).toBeGreaterThanOrEqual(40 + 14)
    expect(runs.length).toBeLessThanOrEqual(40 + 14 + works.status().lost)
    expect(works.status().lost).toBeLessThanOrEqual(10)
  }, 60_000)

  test('when the member that works on a moved job vanishes, another takes it up after its time', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 2000 })
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const ledger = memoryLedger()
    const engine = await openNsq(`nsq://127.0.0.1:${proxy.port}`, { ...eager, http: [node.http] })
    const doomed = await connectEngine(engine, { ledger, drain: 100 })
    onTestFinished(() => doomed.close())
    let begun = 0
    await doomed.subscribe('t', { group: 'g', lease: '1s' }, async () => {
      begun++
      await sleep(60_000, undefined, { ref: false })
    })
    await doomed.publish('t', 1)
    await expect.poll(() => begun).toBe(1)
    await sleep(4500)
    const bus = await busOn(node, {}, { ledger })
    const attempts: number[] = []
    await bus.subscribe('t', { group: 'g', lease: '1s' }, (_, { attempt }) => void attempts.push(attempt))
    await sleep(500)
    expect(attempts).toEqual([])
    await proxy.refuse()
    proxy.cut()
    await expect.poll(() => attempts.length, { timeout: 20_000 }).toBe(1)
  }, 60_000)

  test('a drain waits for a job past nsqd’s longest lease, and leaves nothing of it to others', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 4000 })
    const runs: string[] = []
    let aborted = 0
    const join = async (name: string) =>
      (await busOn(node, {}, { drain: 30_000 })).subscribe('t', { group: 'g', lease: '2s' }, async (_, { signal }) => {
        runs.push(name)
        signal.addEventListener('abort', () => aborted++)
        await sleep(9000)
      })
    const a = await join('a')
    await node.publish('t', '1')
    await expect.poll(() => runs).toEqual(['a'])
    await join('b')
    await sleep(500)
    await a.close()
    await expect.poll(() => left(node), { timeout: 40_000 }).toEqual([0, 0])
    expect(runs.length).toBe(1 + aborted)
    expect(aborted).toBeLessThanOrEqual(1)
  }, 70_000)

  test('a job whose copy went unanswered runs once: of two copies one is too many', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 4000 })
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http], heartbeatMs: 60_000 })
    let runs = 0
    let aborted = 0
    const work = await bus.subscribe('t', { group: 'g', lease: '2s' }, async (_, { signal }) => {
      runs++
      signal.addEventListener('abort', () => aborted++)
      await sleep(9000)
    })
    await node.publish('t', '1')
    await expect.poll(() => runs).toBe(1)
    const [publishing, , fromPrivate] = proxy.connections
    // nsqd gets the copy; of its answer one byte comes back, and the copy itself comes when there is a second one.
    publishing!.cutAfter(1, 'down')
    fromPrivate!.set({ blackhole: true })
    await expect.poll(async () => (await left(node)).some((count) => count >= 2), { timeout: 20_000 }).toBe(true)
    fromPrivate!.set({ blackhole: false })
    await expect.poll(() => work.status().handled, { timeout: 40_000 }).toBe(1)
    await expect.poll(() => left(node), { timeout: 20_000 }).toEqual([0, 0])
    expect(runs).toBe(1 + aborted)
    expect(aborted).toBeLessThanOrEqual(1)
  }, 70_000)

  test('two jobs of one id, both past nsqd’s longest lease, run once each', async () => {
    const node = await nsqd({ maxMsgTimeoutMs: 4000 })
    const bus = await busOn(node)
    let runs = 0
    let aborted = 0
    const work = await bus.subscribe('t', { group: 'g', lease: '2s', concurrency: 2 }, async (_, { signal }) => {
      runs++
      signal.addEventListener('abort', () => aborted++)
      await sleep(9000)
    })
    for (let i = 0; i < 2; i++) await bus.publish('t', i, { id: 'same' })
    await expect.poll(() => work.status().handled, { timeout: 40_000 }).toBe(2)
    await expect.poll(() => left(node), { timeout: 20_000 }).toEqual([0, 0])
    expect(runs).toBe(2 + aborted)
    expect(aborted).toBeLessThanOrEqual(2)
  }, 70_000)

  test('a retry on a raw topic leaves it before a Go member would give up on it, and counts on', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    const attempts: number[] = []
    const ids = new Set<string>()
    await bus.subscribe(
      'opencoze_knowledge',
      { group: 'cg', retry: { attempts: 8, initial: 10, max: 10 } },
      ({ id, body }, { attempt }) => {
        ids.add(id)
        attempts.push(attempt)
        expect(body).toEqual({ n: 1 })
        if (attempt < 7) throw new Error('not yet')
      },
    )
    await node.publish('opencoze_knowledge', '{"n":1}')
    await expect.poll(() => attempts, { timeout: 30_000 }).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(ids.size).toBe(1)
    // Given back three times: nobody is sent it a fifth time.
    expect((await stats(node)).topics.find(({ topic_name }) => topic_name === 'opencoze_knowledge')!.channels[0]!.requeue_count).toBe(3)
    await expect.poll(() => left(node)).toEqual([0, 0])
  }, 60_000)

  test('what came to members that died of it is on the private topic before a fifth one handles it', async () => {
    const node = await nsqd()
    const topic = 'opencoze_knowledge'
    let times = 0
    const dying = await Connection.open({
      address: { host: '127.0.0.1', port: node.ports.tcp },
      options: {},
      first: { command: sub(topic, 'cg'), what: 'the channel' },
    })
    dying.handle({
      message: ({ id, attempts }) => {
        times = attempts
        // Once more: a fifth time it would come here again.
        dying.send(attempts < 4 ? req(id, 0) : rdy(0))
        if (attempts === 4) dying.send(req(id, 0))
      },
    })
    dying.send(rdy(1))
    await node.publish(topic, '1')
    await expect.poll(() => times).toBe(4)
    await dying.end()
    const gate = Promise.withResolvers<void>()
    const bus = await busOn(node)
    let begun = 0
    await bus.subscribe(topic, { group: 'cg' }, async () => {
      begun++
      await gate.promise
    })
    await expect.poll(() => begun).toBe(1)
    const held = (await stats(node)).topics.map(({ topic_name, channels: [channel] }) => [
      topic_name,
      channel!.depth + channel!.in_flight_count,
    ])
    expect(held.sort()).toEqual([
      [`_cozebus.replay.cg.${topic}`, 1],
      [topic, 0],
    ])
    gate.resolve()
    await expect.poll(() => left(node)).toEqual([0, 0])
    expect(begun).toBe(1)
  })

  // REQ and DPUB beyond it: nsqd gives back too early, or ends the connection.
  test('a retry and a delay that are longer than nsqd keeps one are kept, through the ledger', async () => {
    const node = await nsqd({ maxReqTimeoutMs: 300 })
    const bus = await busOn(node)
    const begun = performance.now()
    const at: Record<string, number[]> = { retried: [], delayed: [] }
    await bus.subscribe('t', { group: 'g', retry: { initial: '1500ms', jitter: 'none' } }, ({ body }, { attempt }) => {
      at[body as string]!.push(performance.now() - begun)
      if (body === 'retried' && attempt === 1) throw new Error('once')
    })
    await bus.publish('t', 'retried')
    await bus.publish('t', 'delayed', { delay: '1500ms' })
    await expect.poll(() => [at['retried']!.length, at['delayed']!.length], { timeout: 20_000 }).toEqual([2, 1])
    expect(at['retried']![1]! - at['retried']![0]!).toBeGreaterThan(1400)
    expect(at['delayed']![0]).toBeGreaterThan(1400)
  }, 30_000)

  test('where nsqd cannot be asked what it keeps, a delay that it refuses is an error that names the option, and no loop', async () => {
    const node = await nsqd({ maxReqTimeoutMs: 300 })
    const [nobody] = await freePorts(1)
    const bus = await busOn(node, { http: [`127.0.0.1:${nobody}`] })
    const refused = expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('nsq.maxDelayMs') })
    await expect(bus.publish('t', 1, { delay: '5s' })).rejects.toEqual(refused)
    expect(await bus.publish('t', 1)).toMatchObject({ duplicate: false })
    const told = await busOn(node, { http: [`127.0.0.1:${nobody}`], maxDelayMs: 300 })
    expect(await told.publish('t', 1, { delay: '5s' })).toMatchObject({ duplicate: false })
  }, 30_000)
})
