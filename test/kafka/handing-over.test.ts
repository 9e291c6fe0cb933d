import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Cluster } from '../../src/engines/kafka/cluster.ts'
import { resolveTarget } from '../../src/engines/kafka/target.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { memberOf } from './fake-cluster.ts'
import { eager } from './support.ts'

type Ask = (connection: unknown, name: string, ...rest: unknown[]) => Promise<unknown>

await describeKafka('handing partitions over', () => {
  let broker: KafkaNode
  beforeAll(async () => {
    broker = await startKafka()
  }, 90_000)
  afterAll(() => broker.stop())

  /** A member whose questions can be held back, and what it holds. */
  const member = async (storage: string) => {
    const cluster = new Cluster(await loadKafka(), resolveTarget(broker.url, { ...eager, handoverMs: 10_000 }))
    onTestFinished(() => cluster.close())
    await cluster.refresh([])
    const { subscription, holds, deliveries } = memberOf(cluster, [storage], { order: 'key' })
    const asked: string[] = []
    const gates = new Map<string, Promise<void>>()
    const ask = cluster.ask.bind(cluster) as unknown as Ask
    const held: Ask = async (connection, name, ...rest) => {
      asked.push(name)
      await gates.get(name)
      return ask(connection, name, ...rest)
    }
    cluster.ask = held as unknown as typeof cluster.ask
    const hold = (name: string): (() => void) => {
      const { promise, resolve } = Promise.withResolvers<void>()
      gates.set(name, promise)
      return () => {
        gates.delete(name)
        resolve()
      }
    }
    const times = (name: string): number => asked.filter((one) => one === name).length
    return { subscription, holds, hold, times, handed: () => deliveries.length }
  }

  test('R6: what a member was given and has not begun when the next round begins it does not begin: somebody else may be given it', async () => {
    const first = await member('between')
    await first.subscription.start()
    // All of it is known to have been handed out: the next owner may go on without a word to the broker.
    await using bus = await connect(broker.url, { kafka: eager })
    for (let i = 0; i < 20; i++) await bus.publish('between', i, { key: `k${i}` })
    first.subscription.grant(100, 1e6)
    await expect.poll(first.handed).toBe(20)
    await first.subscription.close()

    const [a, b] = [await member('between'), await member('between')]
    // Its first round is over, and it is asking where to begin, when the second member comes.
    const letJoin = a.hold('SyncGroup')
    a.subscription.grant(100, 1e6)
    const starting = a.subscription.start()
    await expect.poll(() => a.times('SyncGroup')).toBe(1)
    const letBegin = a.hold('OffsetFetch')
    letJoin()
    await expect.poll(() => a.times('OffsetFetch')).toBeGreaterThan(1)
    const letShare = a.hold('SyncGroup')
    const joining = b.subscription.start()
    await expect.poll(() => a.times('SyncGroup')).toBe(2)
    const both = new Set<string>()
    const watching = setInterval(() => {
      for (const scope of a.holds) if (b.holds.has(scope)) both.add(scope)
    }, 1)
    onTestFinished(() => clearInterval(watching))
    letBegin()
    await sleep(300)
    letShare()
    await Promise.all([starting, joining])
    await expect.poll(() => a.holds.size + b.holds.size).toBe(4)
    await expect.poll(() => b.holds.size).toBe(2)
    expect([...both]).toEqual([])
  }, 30_000)

  test('R6: what waits for its next try is given back when another member comes, and not at the end of the handover', async () => {
    const open = async () => {
      const bus = await connect(broker.url, { kafka: { ...eager, handoverMs: 60_000 }, drain: 500 })
      onTestFinished(() => bus.close())
      return bus
    }
    const options = { group: 'g', order: 'key', retry: { initial: '2m', max: '2m', jitter: 'none' } } as const
    const [one, two] = [await open(), await open()]
    let failed = 0
    const failing = await one.subscribe('waits', options, () => {
      failed++
      throw new Error('later')
    })
    for (let i = 0; i < 20; i++) await one.publish('waits', i, { key: `k${i}` })
    await expect.poll(() => failed).toBe(20)
    let tried = 0
    await two.subscribe('waits', options, () => void tried++)
    await expect.poll(() => failing.status().inHand, { timeout: 15_000 }).toBeLessThan(20)
    // Its time is not up: who has it now knows that by the ledger.
    expect(tried).toBe(0)
  }, 60_000)
})
