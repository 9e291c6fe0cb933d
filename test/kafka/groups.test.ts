import { expect, test } from 'vitest'
import { KafkaAdmin } from '../../src/engines/kafka/admin.ts'
import type { Topics } from '../../src/engines/kafka/topics.ts'
import { FakeCluster } from './fake-cluster.ts'

/** A broker with a group of the newer protocol of which it tells this user nothing, as it reads something hidden, too. */
async function beside(place: number) {
  const cluster = new FakeCluster()
  cluster.make('t')
  cluster.put('t', '1', '2')
  await cluster.refresh(['t'])
  if (place >= 0) cluster.committed.set('t/0', { offset: place, metadata: '' })
  cluster.onListGroups = () => ({ groups: [{ groupId: 'hidden', protocolType: 'consumer' }] })
  cluster.onDescribeGroups = () => ({ groups: [{ errorCode: 0, groupState: 'Dead', members: [] }] })
  cluster.onConsumerGroupDescribe = () => ({ groups: [{ errorCode: cluster.codeOf('TOPIC_AUTHORIZATION_FAILED'), members: [] }] })
  const deleted: string[] = []
  const topics = { existing: async () => cluster.known('t')!, delete: async (storage: string) => void deleted.push(storage) }
  const watch = { gone: () => {} }
  const admin = new KafkaAdmin(cluster, topics as unknown as Topics, {} as never, watch as never, new Set())
  return { admin, deleted }
}

test('R3: a group of which this user is told nothing is one member of what it has read, which is not deleted', async () => {
  const { admin, deleted } = await beside(2)
  expect(await admin.groups('t')).toMatchObject([{ group: 'hidden', lag: 0, members: 1 }])
  await expect(admin.deleteTopic('t')).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining("'hidden'") })
  expect(deleted).toEqual([])
})

test('R3: a group of which this user is told nothing holds up nothing where it has read nothing', async () => {
  const { admin, deleted } = await beside(-1)
  expect(await admin.groups('t')).toEqual([])
  await admin.deleteTopic('t')
  expect(deleted).toEqual(['t'])
})
