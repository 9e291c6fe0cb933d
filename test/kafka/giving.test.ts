import { expect, test } from 'vitest'
import { encodeSaid } from '../../src/engines/kafka/assigning.ts'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { FakeCluster, joined } from './fake-cluster.ts'

const kafka = await loadKafka()

/** Another member joins: from the next round on half of these topics, which share lanes, is to be its own. */
function anotherJoins(cluster: FakeCluster, topics: readonly string[]): { readonly has: () => string[] } {
  const owned: Record<string, number[]> = {}
  const lanes = Object.fromEntries(topics.map((topic) => [topic, topics[0]!]))
  const metadata = () =>
    kafka.encodeConsumerProtocolSubscription({
      version: 0,
      topics,
      userData: Buffer.from(encodeSaid({ lanes, filters: {}, owned })),
    } as never)
  const join = cluster.onJoinGroup.bind(cluster)
  cluster.onJoinGroup = (...args) => {
    const joined = join(...args)
    return { ...joined, members: [...joined.members, { memberId: 'm0', metadata: metadata() }] }
  }
  const sync = cluster.onSyncGroup.bind(cluster)
  cluster.onSyncGroup = (...args) => {
    const theirs = (args[6] as { memberId: string; assignment: Buffer }[]).find(({ memberId }) => memberId === 'm0')
    if (theirs) {
      const { assignedPartitions } = kafka.decodeConsumerProtocolAssignment(theirs.assignment)
      for (const topic of topics) owned[topic] = assignedPartitions.find((one) => one.topic === topic)?.partitions ?? []
    }
    return sync(...args)
  }
  let told = false
  cluster.onHeartbeat = () => {
    if (told) return {}
    told = true
    throw cluster.error('REBALANCE_IN_PROGRESS')
  }
  return { has: () => topics.flatMap((topic) => owned[topic]?.map((partition) => `${topic}/${partition}`) ?? []) }
}

test('R3: a partition is given up with what is settled of it, also where the broker takes no commit at first', async () => {
  const cluster = new FakeCluster()
  cluster.make('t', 2)
  cluster.put('t', 'a', 'b')
  const { subscription, deliveries, holds } = await joined(cluster, ['t'])
  await expect.poll(() => deliveries.length).toBe(2)
  let refusals = 0
  cluster.before.set('OffsetCommit', () => {
    if (++refusals > 3) return
    throw cluster.error('COORDINATOR_LOAD_IN_PROGRESS')
  })
  const another = anotherJoins(cluster, ['t'])
  const settled = subscription.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery }) as const)).catch(() => [])
  await expect.poll(() => another.has().length, { timeout: 20_000 }).toBe(1)
  await settled
  expect(refusals).toBeGreaterThan(3)
  expect(holds.size).toBe(1)
  expect(cluster.committed.get('t/0')?.offset).toBe(2)
})

test('R3: what was acknowledged past a gap, and is committed as its partition goes, is confirmed and not lost', async () => {
  const cluster = new FakeCluster({ handoverMs: 300 })
  cluster.make('t', 2)
  // The one that another member is to get.
  cluster.logs.get('t')!.partitions[1]!.push('stays in hand', 'done')
  const { subscription, deliveries, holds } = await joined(cluster, ['t'])
  await expect.poll(() => deliveries.length).toBe(2)
  cluster.before.set('OffsetCommit', () => {
    throw cluster.error('COORDINATOR_LOAD_IN_PROGRESS')
  })
  const done = [{ kind: 'ack', delivery: deliveries[1]! }] as const
  await expect(subscription.settle(done)).rejects.toMatchObject({ code: 'engine_unavailable' })
  cluster.before.clear()
  anotherJoins(cluster, ['t'])
  await expect.poll(() => [...holds], { timeout: 20_000 }).toEqual(['t/0'])
  expect(await subscription.settle(done)).toEqual(['confirmed'])
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[0]! }])).toEqual(['lost'])
})

test('R9: a member that is stopped gives what nothing is in hand of to others, and the rest as it is settled', async () => {
  const cluster = new FakeCluster()
  const topics = ['t', 'replays']
  for (const topic of topics) cluster.make(topic, 4)
  cluster.put('t', 'long')
  const { subscription, deliveries, holds } = await joined(cluster, topics, { lanes: 't' })
  await expect.poll(() => deliveries.length).toBe(1)
  const another = anotherJoins(cluster, topics)
  await expect.poll(another.has, { timeout: 20_000 }).toEqual(['t/2', 't/3', 'replays/2', 'replays/3'])
  await subscription.stop()
  // Its key may be in the partition of that number of what shares its lanes.
  const rest = ['replays/0', 't/0']
  await expect.poll(() => another.has().length, { timeout: 20_000 }).toBe(6)
  expect([...holds].sort()).toEqual(rest)
  expect(rest.some((scope) => another.has().includes(scope))).toBe(false)
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[0]! }])).toEqual(['confirmed'])
  await expect.poll(() => another.has().length, { timeout: 20_000 }).toBe(8)
  expect(holds.size).toBe(0)
  expect(cluster.committed.get('t/0')?.offset).toBe(1)
})
