import { once } from 'node:events'
import { type AddressInfo, createServer, connect as dial } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { DeliverySink, Engine, EngineSubscription, Source } from '../../src/engines/engine.ts'
import { openNsq } from '../../src/engines/nsq/engine.ts'
import type { NsqOptions } from '../../src/engines/nsq/options.ts'
import { describeNsq } from '../rig/needs.ts'
import { type NsqNode, startNsqlookupd } from '../rig/nsq.ts'
import { startProxy, type TcpProxy } from '../rig/proxy.ts'
import { busOn, eager, nsqd } from './support.ts'

const sourceOf = (storage: string): Source => ({ storage, filter: undefined, lanes: storage, from: 'earliest' })

function read(engine: Engine, storage: string): Promise<EngineSubscription> {
  const nothing = (): void => {}
  const sink: DeliverySink = { deliver: nothing, lost: nothing, assigned: nothing, leaving: nothing, revoked: nothing, warned: nothing }
  const spec = { group: 'g', sources: [sourceOf(storage)], order: 'none', orderScope: 'process', leaseMs: 30_000, member: 'm' } as const
  return engine.subscribe(spec, sink)
}

/** An engine whose way to nsqlookupd can be held up. */
async function overLookup(options: NsqOptions = {}): Promise<{ engine: Engine; node: NsqNode; lookup: NsqNode; proxy: TcpProxy }> {
  const lookup = await startNsqlookupd()
  onTestFinished(() => lookup.stop())
  const node = await nsqd({ lookupd: [lookup.tcp], id: 1 })
  await expect.poll(() => lookup.ask('/nodes')).toContain('tcp_port')
  const proxy = await startProxy(lookup.ports.http)
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  const engine = await openNsq(`nsq+lookup://127.0.0.1:${proxy.port}`, { ...eager, ...options })
  onTestFinished(() => engine.close())
  return { engine, node, lookup, proxy }
}

/** Resolves once the topic is there and can be found. */
async function make(topic: string, node: NsqNode, lookup: NsqNode): Promise<void> {
  await node.publish(topic, '1')
  await expect.poll(() => lookup.ask(`/lookup?topic=${topic}`).catch(() => '')).toContain('tcp_port')
}

const clients = async (node: NsqNode): Promise<number> => {
  const { topics } = JSON.parse(await node.ask('/stats?format=json')) as { topics: { channels: { client_count: number }[] }[] }
  return topics.flatMap(({ channels }) => channels).reduce((sum, { client_count }) => sum + client_count, 0)
}

await describeNsq('closing', () => {
  test('a subscription that is still looking up when the engine closes ends with it, and leaves no reader', async () => {
    const { engine, node, lookup, proxy } = await overLookup({ lookupIntervalMs: 60_000 })
    await make('t', node, lookup)
    proxy.set({ blackhole: true })
    const starting = expect(read(engine, 't')).rejects.toMatchObject({ code: 'closed' })
    await engine.close()
    proxy.set({ blackhole: false })
    await starting
    expect(await clients(node)).toBe(0)
  })

  test('so does a topic that is added then', async () => {
    const { engine, node, lookup, proxy } = await overLookup({ lookupIntervalMs: 60_000 })
    for (const topic of ['a', 'b']) await make(topic, node, lookup)
    const subscription = await read(engine, 'a')
    await expect.poll(() => clients(node)).toBe(1)
    proxy.set({ blackhole: true })
    const adding = expect(subscription.add(sourceOf('b'))).rejects.toMatchObject({ code: 'closed' })
    await subscription.close()
    proxy.set({ blackhole: false })
    await adding
    await expect.poll(() => clients(node)).toBe(0)
  })

  test('an nsqd that nsqlookupd tells of after the engine was closed is not connected to', async () => {
    const { engine, lookup, proxy } = await overLookup({ lookupIntervalMs: 50 })
    await expect.poll(() => proxy.connections.size, { interval: 1 }).toBe(0)
    proxy.set({ blackhole: true })
    await expect.poll(() => proxy.connections.size).toBe(1)
    const late = await nsqd({ lookupd: [lookup.tcp], id: 2 })
    await expect.poll(() => lookup.ask('/nodes')).toContain(`"tcp_port":${late.ports.tcp}`)
    await engine.close()
    proxy.set({ blackhole: false })
    await expect.poll(() => proxy.connections.size).toBe(0)
    await sleep(100)
    expect(late.logs()).not.toContain('new client')
  })

  // 25 s: what nsqd may be silent for.
  test('an nsqd that stands still is not waited for', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    await bus.subscribe('t', { group: 'g' }, () => {})
    await bus.subscribe('live', () => {})
    node.signal('SIGSTOP')
    onTestFinished(() => node.signal('SIGCONT'))
    const begun = performance.now()
    await bus.close()
    expect(performance.now() - begun).toBeLessThan(10_000)
  }, 40_000)

  test('nor for its answer to SUB', async () => {
    const node = await nsqd()
    // What nsqd says first, to IDENTIFY, comes through, and nothing after it.
    const silent = createServer((client) => {
      const upstream = dial(node.ports.tcp, '127.0.0.1')
      for (const socket of [client, upstream]) socket.on('error', () => {})
      client.pipe(upstream)
      upstream.once('data', (chunk) => client.write(chunk))
      upstream.on('close', () => client.destroy())
    })
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    onTestFinished(() => void silent.close())
    const { port } = silent.address() as AddressInfo
    const engine = await openNsq(`nsq://127.0.0.1:${port}`, { ...eager, connectTimeoutMs: 500, http: [node.http] })
    onTestFinished(() => engine.close())
    await expect(read(engine, 't')).rejects.toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('500 ms') })
  }, 40_000)
})
