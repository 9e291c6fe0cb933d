import { expect, onTestFinished, test } from 'vitest'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Membership } from '../../src/engines/kafka/membership.ts'
import { FakeCluster, joined, memberOf } from './fake-cluster.ts'

async function member(cluster: FakeCluster) {
  const told: string[] = []
  const membership = new Membership(cluster, 'g', {
    says: () => ({ topics: [], amongOthers: [], said: { lanes: {}, filters: {}, owned: {} } }),
    assigned: () => void told.push('assigned'),
    lost: (reason) => void told.push(reason),
    kept: (from) => {
      if (from) told.push(from.code)
    },
  })
  onTestFinished(() => membership.leave())
  await membership.start()
  return { membership, told }
}

test('R5: a member that hears nothing while it joins anew has lost what it had after the time of a session', async () => {
  const cluster = new FakeCluster({ sessionTimeoutMs: 1000 })
  const { membership, told } = await member(cluster)
  const silence = Promise.withResolvers<void>()
  onTestFinished(() => silence.resolve())
  for (const name of ['JoinGroup', 'Heartbeat']) cluster.before.set(name, () => silence.promise)
  const begun = performance.now()
  membership.rejoin()
  await expect.poll(() => told).toEqual(['assigned', 'no answer for 1000 ms'])
  expect(performance.now() - begun).toBeLessThan(15_000)
  expect(membership.identity.generation).toBe(-1)
})

test('R5: a member that the broker answers while others take their time keeps what it has', async () => {
  const cluster = new FakeCluster({ sessionTimeoutMs: 1000 })
  const { membership, told } = await member(cluster)
  const others = Promise.withResolvers<void>()
  cluster.before.set('JoinGroup', () => others.promise)
  let beats = 0
  cluster.before.set('Heartbeat', () => {
    beats++
    throw cluster.error('REBALANCE_IN_PROGRESS')
  })
  membership.rejoin()
  await expect.poll(() => beats).toBeGreaterThan(10)
  cluster.before.clear()
  others.resolve()
  await expect.poll(() => told).toEqual(['assigned', 'assigned'])
})

test('R5: a member that the broker does not know any more while it joins has lost what it had', async () => {
  const cluster = new FakeCluster({ sessionTimeoutMs: 6000 })
  const { membership, told } = await member(cluster)
  const others = Promise.withResolvers<void>()
  onTestFinished(() => others.resolve())
  cluster.before.set('JoinGroup', () => others.promise)
  cluster.before.set('Heartbeat', () => {
    throw cluster.error('UNKNOWN_MEMBER_ID')
  })
  membership.rejoin()
  await expect.poll(() => told[1]).toMatch(/does not know/)
})

test('R8: a member that may not join again says so, and joins once it may', async () => {
  const cluster = new FakeCluster({ sessionTimeoutMs: 6000 })
  cluster.make('t')
  const { subscription, warnings } = await joined(cluster, ['t'])
  expect(subscription.trouble).toBeUndefined()
  cluster.before.set('Heartbeat', () => {
    throw cluster.error('UNKNOWN_MEMBER_ID')
  })
  cluster.before.set('JoinGroup', () => {
    throw cluster.error('GROUP_AUTHORIZATION_FAILED')
  })
  await expect.poll(() => subscription.trouble).toMatch(/cannot join again.*GROUP_AUTHORIZATION_FAILED/)
  expect(warnings).toEqual([expect.stringMatching(/does not know this member/), expect.stringMatching(/cannot join again/)])
  cluster.before.clear()
  await expect.poll(() => subscription.trouble).toBeUndefined()
  expect(warnings.length).toBe(2)
})

test('R8: a member that may not see where its group stands says so, asks ever more seldom, and goes on once it may', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  const { subscription, holds, texts, warnings } = await joined(cluster, ['t'])
  await expect.poll(() => holds.size).toBe(1)
  const askedAt: number[] = []
  cluster.before.set('OffsetFetch', () => {
    askedAt.push(performance.now())
    throw cluster.error('GROUP_AUTHORIZATION_FAILED')
  })
  cluster.before.set('Heartbeat', () => {
    cluster.before.delete('Heartbeat')
    throw cluster.error('UNKNOWN_MEMBER_ID')
  })
  await expect.poll(() => askedAt.length, { timeout: 20_000 }).toBe(5)
  expect(askedAt[4]! - askedAt[3]!).toBeGreaterThan(350)
  expect(subscription.trouble).toMatch(/^what this member was given cannot be begun.*group 'g'.*GROUP_AUTHORIZATION_FAILED/)
  expect(warnings.length).toBe(2)
  cluster.before.clear()
  cluster.put('t', '1')
  await expect.poll(texts, { timeout: 20_000 }).toEqual(['1'])
  expect(subscription.trouble).toBeUndefined()
}, 60_000)

test.each(['DescribeGroups', 'OffsetFetch', 'JoinGroup', 'SyncGroup'])(
  'R8: a subscribe that its group refuses (%s) is refused itself',
  async (refused) => {
    const cluster = new FakeCluster()
    cluster.make('t')
    cluster.before.set(refused, () => {
      throw cluster.error('GROUP_AUTHORIZATION_FAILED')
    })
    const { subscription } = memberOf(cluster, ['t'])
    await expect(subscription.start()).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining("group 'g'") })
  },
)

test('R8: a batch that cannot be made out is told of, and read on once it can be', async () => {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', '1')
  cluster.before.set('Fetch', () => {
    throw new Error('a batch of no known kind')
  })
  const { subscription, texts, warnings } = await joined(cluster, ['t'])
  await expect.poll(() => subscription.trouble).toMatch(/'t' cannot be read.*no known kind/)
  cluster.before.clear()
  await expect.poll(texts).toEqual(['1'])
  await expect.poll(() => subscription.trouble).toBeUndefined()
  expect(warnings.length).toBe(1)
})

test('R6: a member that closes keeps what is in hand when a member of another client comes', async () => {
  const { encodeConsumerProtocolSubscription } = await loadKafka()
  const cluster = new FakeCluster()
  cluster.make('t', 2)
  cluster.put('t', 'in hand')
  const { subscription, deliveries, holds, texts } = await joined(cluster, ['t'])
  await expect.poll(texts).toEqual(['in hand'])
  expect([...holds]).toEqual(['t/0', 't/1'])
  const ofOurs = cluster.onJoinGroup.bind(cluster)
  const theirs = encodeConsumerProtocolSubscription({ version: 0, topics: ['t'], userData: null } as never)
  cluster.onJoinGroup = (group, session, rebalance, member, instance, type, protocols) => {
    const range = protocols.filter(({ name }) => name === 'range')
    const answer = ofOurs(group, session, rebalance, member, instance, type, range)
    return { ...answer, members: [...answer.members, { memberId: 'other', metadata: theirs }] }
  }
  await subscription.stop()
  await expect.poll(() => cluster.times('SyncGroup'), { timeout: 10_000 }).toBe(2)
  // It beats once what the round gave is known.
  await expect.poll(() => cluster.asked.lastIndexOf('Heartbeat') > cluster.asked.lastIndexOf('SyncGroup')).toBe(true)
  expect([...holds]).toEqual(['t/0'])
  expect(await subscription.settle([{ kind: 'ack', delivery: deliveries[0]! }])).toEqual(['confirmed'])
})
