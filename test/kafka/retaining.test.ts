import { test } from 'vitest'
import { encodeSaid } from '../../src/engines/kafka/assigning.ts'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Groups } from '../../src/engines/kafka/groups.ts'
import { Retaining } from '../../src/engines/kafka/retaining.ts'
import type { Topics } from '../../src/engines/kafka/topics.ts'
import { FakeCluster } from './fake-cluster.ts'

const kafka = await loadKafka()

/** Ten messages, of which two are to stay; the group has read five. */
async function keeping(changes: (cluster: FakeCluster, listed: string[]) => void) {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', ...Array.from({ length: 10 }, (_, i) => `${i}`))
  await cluster.refresh(['t'])
  const listed = ['slow']
  const stands: Record<string, number> = { slow: 5 }
  cluster.onListGroups = () => ({ groups: listed.map((groupId) => ({ groupId, protocolType: 'consumer' })) })
  cluster.onOffsetFetch = (([{ groupId }]: [{ groupId: string }]) => {
    const partition = { partitionIndex: 0, committedOffset: BigInt(stands[groupId] ?? -1), metadata: '', errorCode: 0 }
    return { groups: [{ errorCode: 0, topics: [{ name: 't', partitions: [partition] }] }] }
  }) as never
  changes(cluster, listed)
  const purged: (readonly number[])[] = []
  const topics = { existing: async () => cluster.known('t')!, isOurs: async () => true } as unknown as Topics
  const retaining = new Retaining(cluster, topics, new Groups(cluster), {
    bytes: async () => 0,
    purge: async (_storage, _topic, _starts, places) => purged.push(places),
  })
  retaining.keep('t', { messages: 2 })
  return { cluster, listed, purged, [Symbol.dispose]: () => retaining.close() }
}

test.concurrent('R3: retention deletes up to the place of the slowest group, also while no broker names it', async ({ expect }) => {
  using kept = await keeping(() => {})
  await expect.poll(() => kept.purged.length).toBe(1)
  kept.listed.length = 0
  await expect.poll(() => kept.purged.length).toBe(2)
  expect(kept.purged).toEqual([[5], [5]])
})

test.concurrent('R3: retention deletes nothing where groups may be hidden from this user, or have no leader', async ({ expect }) => {
  for (const hide of [
    (cluster: FakeCluster) => {
      cluster.onDescribeCluster = () => ({ clusterAuthorizedOperations: 0 })
    },
    (cluster: FakeCluster) => {
      const metadata = cluster.onMetadata.bind(cluster)
      cluster.make('__consumer_offsets')
      cluster.onMetadata = (names) => {
        const answer = metadata(names)
        for (const { name, partitions } of answer.topics) if (name !== 't') for (const one of partitions) one.leaderId = -1
        return answer
      }
    },
  ]) {
    using kept = await keeping(hide)
    let looks = 0
    kept.cluster.before.set('DescribeCluster', () => void looks++)
    await expect.poll(() => looks).toBe(2)
    expect(kept.purged).toEqual([])
  }
}, 60_000)

test.concurrent('R3: retention deletes nothing, and says why, where a group reads what this user may not see', async ({ expect }) => {
  const warnings: Error[] = []
  const warned = (warning: Error) => void warnings.push(warning)
  process.on('warning', warned)
  try {
    using kept = await keeping((cluster, listed) => {
      listed.push('hidden')
      cluster.onDescribeGroups = () => ({ groups: [{ errorCode: 0, groupState: 'Dead', members: [] }] })
      cluster.onConsumerGroupDescribe = () => ({ groups: [{ errorCode: cluster.codeOf('TOPIC_AUTHORIZATION_FAILED'), members: [] }] })
    })
    await expect.poll(() => warnings.map(({ message }) => message)).toContainEqual(expect.stringMatching(/'hidden'.*may not see/))
    await expect.poll(() => kept.cluster.times('ConsumerGroupDescribe')).toBeGreaterThan(1)
    expect(kept.purged).toEqual([])
  } finally {
    process.off('warning', warned)
  }
}, 60_000)

test.concurrent('R3: a group that has just come and has committed nothing has read nothing', async ({ expect }) => {
  using kept = await keeping((cluster, listed) => {
    listed.push('new')
    const memberMetadata = kafka.encodeConsumerProtocolSubscription({
      version: 0,
      topics: ['t'],
      userData: Buffer.from(encodeSaid({ lanes: {}, filters: {}, owned: {} })),
    } as never)
    cluster.onDescribeGroups = () => ({ groups: [{ errorCode: 0, members: [{ memberId: 'm', memberMetadata }] }] })
  })
  await expect.poll(() => kept.cluster.times('DescribeGroups')).toBeGreaterThan(1)
  expect(kept.purged).toEqual([])
})
