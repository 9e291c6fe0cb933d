import { afterEach, expect, test } from 'vitest'
import { Membership } from '../../src/engines/kafka/membership.ts'
import { FakeCluster } from './fake-cluster.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

async function member(cluster: FakeCluster) {
  const told: string[] = []
  const membership = new Membership(cluster, 'g', {
    says: () => ({ topics: [], said: { lanes: {}, filters: {}, owned: {} } }),
    assigned: () => void told.push('assigned'),
    lost: (reason) => void told.push(reason),
  })
  ends.push(() => membership.leave())
  await membership.start()
  return { membership, told }
}

test('R5: a member that hears nothing while it joins anew has lost what it had after the time of a session', async () => {
  const cluster = new FakeCluster({ sessionTimeoutMs: 1000 })
  const { membership, told } = await member(cluster)
  const silence = Promise.withResolvers<void>()
  ends.push(() => silence.resolve())
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
  ends.push(() => others.resolve())
  cluster.before.set('JoinGroup', () => others.promise)
  cluster.before.set('Heartbeat', () => {
    throw cluster.error('UNKNOWN_MEMBER_ID')
  })
  membership.rejoin()
  await expect.poll(() => told[1]).toMatch(/does not know/)
})
