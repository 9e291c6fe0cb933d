import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { Cluster } from '../../src/engines/pulsar/cluster.ts'
import { Pool } from '../../src/engines/pulsar/connection.ts'
import { Consumer, kinds } from '../../src/engines/pulsar/consumer.ts'
import { parsePulsarUrl } from '../../src/engines/pulsar/url.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { codec } from './fake-broker.ts'
import { busAt, eager, fresh } from './support.ts'

await describePulsar("members of a group with order: 'topic'", async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())
  const connected = () => busAt(broker.url, { admin: broker.admin })

  test('who joins takes nothing out of the hands of who is there; who leaves is followed by another', async () => {
    const topic = fresh('line')
    const begun: [member: number, body: unknown][] = []
    const running = new Set<number>()
    const most: number[] = []
    const aborted: unknown[] = []
    const end = Promise.withResolvers<void>()
    const join = async (member: number) => {
      const bus = await connected()
      await bus.subscribe(topic, { group: 'g', order: 'topic' }, async ({ body }, { signal }) => {
        begun.push([member, body])
        running.add(member)
        most.push(running.size)
        if (body === 0) await end.promise
        if (signal.aborted) aborted.push(body)
        running.delete(member)
      })
      return bus
    }
    const first = await join(0)
    for (const n of [0, 1, 2]) await first.publish(topic, n)
    await expect.poll(() => begun).toEqual([[0, 0]])
    for (const member of [1, 2, 3, 4]) await join(member)
    await sleep(1000)
    expect(begun).toEqual([[0, 0]])
    end.resolve()
    await expect.poll(() => begun.map(([, body]) => body)).toEqual([0, 1, 2])
    expect(new Set(begun.map(([member]) => member))).toEqual(new Set([0]))
    await first.close()
    const publisher = await connected()
    for (const n of [3, 4, 5]) await publisher.publish(topic, n)
    await expect.poll(() => begun.map(([, body]) => body)).toEqual([0, 1, 2, 3, 4, 5])
    expect(new Set(begun.slice(3).map(([member]) => member)).size).toBe(1)
    expect(Math.max(...most)).toBe(1)
    expect(aborted).toEqual([])
  })

  test('a consumer of another client that the broker puts before ours gets what ours has: it is told, and goes on afterwards', async () => {
    const topic = fresh('taken')
    const bus = await connected()
    const begun: unknown[] = []
    const aborted: unknown[] = []
    await bus.subscribe(topic, { group: 'g', order: 'topic' }, async ({ body }, { signal }) => {
      begun.push(body)
      if (begun.length > 1) return
      await sleep(30_000, undefined, { signal }).catch(() => aborted.push(body))
      signal.throwIfAborted()
    })
    for (const n of [0, 1]) await bus.publish(topic, n)
    await expect.poll(() => begun).toEqual([0])

    const pool = new Pool(eager, codec)
    onTestFinished(() => pool.close())
    const cluster = new Cluster(parsePulsarUrl(broker.url), eager, pool)
    const spec = { topic, storage: topic, subscription: 'g', kind: kinds.failover, name: 'other', from: 'earliest', durable: true } as const
    let came = 0
    const other = new Consumer(cluster, spec, {
      came: () => void came++,
      joined: (consumer) => consumer.allow(10),
      left: () => {},
      superseded: () => {},
      troubled: () => {},
    })
    await other.start()
    await expect.poll(() => came).toBe(2)
    await expect.poll(() => aborted).toEqual([0])
    expect(begun).toEqual([0])
    await other.close()
    await expect.poll(() => begun).toEqual([0, 0, 1])
  })

  test('more partitions than one are refused for the group, and read for a process', async () => {
    const topic = fresh('parts')
    await broker.ask(`/admin/v2/persistent/public/default/${topic}/partitions`, { method: 'PUT', body: 2 })
    const bus = await connected()
    const order = { group: 'g', order: 'topic' } as const
    await expect(bus.subscribe(topic, order, () => {})).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('2 partitions'),
    })
    const got: unknown[] = []
    await bus.subscribe(topic, { ...order, orderScope: 'process' }, ({ body }) => void got.push(body))
    for (const n of [0, 1]) await bus.publish(topic, n)
    await expect.poll(() => got.toSorted()).toEqual([0, 1])
  })
})
