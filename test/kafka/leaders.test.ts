import type { Connection } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Cluster } from '../../src/engines/kafka/cluster.ts'
import { resolveTarget } from '../../src/engines/kafka/target.ts'
import { FakeCluster, joined } from './fake-cluster.ts'

const metadata = (leaderId: number, leaderEpoch: number) => () => ({
  brokers: [1, 2].map((nodeId) => ({ nodeId, host: 'fake', port: nodeId })),
  controllerId: 1,
  topics: [{ errorCode: 0, name: 't', topicId: 'id', partitions: [{ partitionIndex: 0, leaderId, leaderEpoch }], isInternal: false }],
})

test('R3: a broker that was away and knows of an older leader is not believed, nor is what it says of the log', async () => {
  const cluster = new FakeCluster()
  const heard = async (leaderId: number, epoch: number): Promise<number> => {
    cluster.onMetadata = metadata(leaderId, epoch) as never
    cluster.forgetTopic('t')
    return (await cluster.topic('t', true))!.leaders[0]!
  }
  expect(await heard(1, 4)).toBe(1)
  expect(await heard(2, 5)).toBe(2)
  expect(await heard(1, 4)).toBe(-1)
  expect(await heard(2, 5)).toBe(2)
  expect(await heard(1, 6)).toBe(1)
})

test('R3: a log that is said to end before what was read is begun anew only where its leader says so', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', 'a', 'b')
  const { subscription, texts, warnings, deliveries } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['a', 'b'])
  await subscription.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })))
  const fetch = cluster.onFetch.bind(cluster)
  let said = 0
  const epochs = new Set<number>()
  cluster.onFetch = (...args) => {
    const [{ topicId, partitions }] = args[6]
    epochs.add(partitions[0].currentLeaderEpoch)
    if (++said > 3) return fetch(...args)
    return Promise.resolve({ errorCode: 0, responses: [{ topicId, partitions: [{ partitionIndex: 0, errorCode: 1 }] }] }) as never
  }
  await expect.poll(() => said).toBeGreaterThan(3)
  cluster.put('t', 'c')
  await expect.poll(texts).toEqual(['a', 'b', 'c'])
  expect(warnings).toEqual([])
  expect([...epochs]).toEqual([1])
})

test('R8: what cannot be read of a partition keeps nothing of another, is told, and is tried again', async () => {
  const cluster = new FakeCluster()
  cluster.make('t', 2)
  const [first, second] = cluster.logs.get('t')!.partitions
  first!.push('a')
  second!.push('b')
  const fetch = cluster.onFetch.bind(cluster)
  let broken: unknown = new Error('no batch at all')
  cluster.onFetch = async (...args) => {
    const answer = await fetch(...args)
    for (const { partitions } of answer.responses)
      for (const [i, one] of partitions.entries())
        if (broken !== undefined && one.partitionIndex === 0) partitions[i] = { ...one, records: [], broken } as never
    return answer
  }
  const { subscription, texts } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['b'])
  await expect.poll(() => subscription.trouble).toContain('no batch at all')
  broken = undefined
  await expect.poll(texts).toEqual(['b', 'a'])
  await expect.poll(() => subscription.trouble).toBeUndefined()
})

test('R8: brokers are of different versions while they are upgraded one after the other: each is asked as it can be', async () => {
  const cluster = new Cluster(await loadKafka(), resolveTarget('kafka://fake:1', {}))
  const sent: string[] = []
  const broker = (name: string, newest: number): Connection => {
    const answer = (...args: unknown[]): void => {
      const [apiKey, apiVersion] = args as [number, number]
      const callback = args.at(-1) as (error: null, answer: unknown) => void
      if (apiKey === 18) callback(null, { errorCode: 0, apiKeys: [{ name: 'Metadata', minVersion: 10, maxVersion: newest }] })
      else {
        sent.push(`${name} ${apiVersion}`)
        callback(null, {})
      }
    }
    return { send: answer } as unknown as Connection
  }
  for (const connection of [broker('new', 12), broker('old', 11)]) await cluster.ask(connection, 'Metadata', [], false, false)
  expect(sent).toEqual(['new 12', 'old 11'])
  await cluster.close()
})
