import { describe, expect, test } from 'vitest'
import { encodeSaid } from '../../src/engines/kafka/assigning.ts'
import { loadKafka } from '../../src/engines/kafka/client.ts'
import { Groups } from '../../src/engines/kafka/groups.ts'
import { FakeCluster, joined, memberOf } from './fake-cluster.ts'

const kafka = await loadKafka()

const source = (storage: string) => ({ storage, filter: undefined, lanes: storage, from: 'earliest' }) as const

test('a member may begin with nothing to read', async () => {
  const cluster = new FakeCluster()
  const { subscription, texts } = await joined(cluster, [])
  cluster.make('one')
  await subscription.add(source('one'))
  cluster.put('one', '1')
  await expect.poll(texts).toEqual(['1'])
})

describe('R8: a topic that may not be read holds up no other', () => {
  test('that is joined later', async () => {
    const cluster = new FakeCluster()
    for (const topic of ['one', 'shut', 'two']) cluster.make(topic)
    const { subscription, texts } = await joined(cluster, ['one'])
    cluster.refusals.set('shut/0', 'TOPIC_AUTHORIZATION_FAILED')
    await expect(subscription.add(source('shut'))).rejects.toMatchObject({ code: 'forbidden' })
    await subscription.add(source('two'))
    cluster.put('two', '2')
    await expect.poll(texts).toEqual(['2'])
    cluster.refusals.clear()
    await subscription.add(source('shut'))
    cluster.put('shut', '3')
    await expect.poll(texts).toEqual(['2', '3'])
  })

  test('that begins in the same round, and is told once', async () => {
    const cluster = new FakeCluster()
    for (const topic of ['one', 'shut', 'two']) cluster.make(topic)
    const { subscription, texts, warnings, holds } = await joined(cluster, ['one', 'shut'])
    await expect.poll(() => holds.size).toBe(2)
    // It is made again, and may not be read from then on.
    cluster.refusals.set('shut/0', 'TOPIC_AUTHORIZATION_FAILED')
    cluster.committed.delete('shut/0')
    cluster.logs.set('shut', { id: 'another', partitions: [[]] })
    await cluster.refresh(['shut'])
    await expect.poll(() => warnings.join()).toContain('made again')
    await subscription.add(source('two'))
    cluster.put('two', '2')
    await expect.poll(texts).toEqual(['2'])
    await expect.poll(() => warnings.length).toBe(2)
    const before = cluster.times('OffsetCommit')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(cluster.times('OffsetCommit') - before).toBeLessThan(6)
    expect(warnings[1]).toMatch(/'shut' cannot be read.*AUTHORIZATION/)
    expect(subscription.trouble).toMatch(/'shut' cannot be read/)
    cluster.refusals.clear()
    cluster.put('shut', '3')
    await expect.poll(texts).toEqual(['2', '3'])
    expect(subscription.trouble).toBeUndefined()
  })
})

describe('R3: a group has one filter', () => {
  const member = (memberId: string, userData: string | undefined) => ({
    memberId,
    memberMetadata: kafka.encodeConsumerProtocolSubscription({
      version: 0,
      topics: ['t'],
      ...(userData === undefined ? {} : { userData: Buffer.from(userData) }),
    } as never),
  })
  const said = (undecided: string[] | undefined) =>
    encodeSaid({ lanes: { t: 't' }, filters: { t: 'a' }, owned: {}, ...(undecided ? { undecided } : {}) })
  const meeting = async (memberId: string, userData: string | undefined, whenJoined: boolean) => {
    const cluster = new FakeCluster()
    cluster.make('t')
    cluster.onDescribeGroups = () => ({
      groups: [{ errorCode: 0, members: !whenJoined || cluster.generation > 0 ? [member(memberId, userData)] : [] }],
    })
    const { subscription } = memberOf(cluster, ['t'], { filter: 'b' })
    return subscription.start().then(
      () => 'joined',
      (error: { code: string }) => error.code,
    )
  }

  test.each([
    ['one that was there before', 'm0', said(undefined), false, 'filter_conflict'],
    ['a member of another client', 'm0', undefined, false, 'filter_conflict'],
    ['one that came at the same moment and has the smaller id', 'm0', said(['t']), true, 'filter_conflict'],
    ['one that came at the same moment and has the greater id', 'm2', said(['t']), true, 'joined'],
    ['one that has come a moment before', 'm2', said([]), true, 'filter_conflict'],
  ])('beside %s', async (_, memberId, userData, whenJoined, outcome) => {
    expect(await meeting(memberId, userData, whenJoined)).toBe(outcome)
  })

  test('what a round has seen counts only while it is the newest', async () => {
    const cluster = new FakeCluster()
    cluster.make('t')
    const { subscription } = memberOf(cluster, ['t'], { filter: 'b' })
    let looks = 0
    let again = (): void => {}
    cluster.onHeartbeat = () => {
      if (looks === 1) throw cluster.error('REBALANCE_IN_PROGRESS')
      return {}
    }
    cluster.onDescribeGroups = () => {
      if (cluster.generation === 0) return { groups: [{ errorCode: 0, members: [] }] }
      looks++
      const members = looks === 1 ? [] : [member('m0', said(['t']))]
      const answer = { groups: [{ errorCode: 0, members }] }
      // The answer of a moment before another came is heard a moment after it.
      return looks > 1
        ? answer
        : new Promise((resolve) => {
            again = () => resolve(answer)
          })
    }
    const starting = subscription.start()
    starting.catch(() => {})
    await expect.poll(() => cluster.generation).toBe(2)
    again()
    await expect(starting).rejects.toMatchObject({ code: 'filter_conflict' })
  })
})

describe('R3: a group that is not of the classic protocol', () => {
  const asked = async (answer: (cluster: FakeCluster) => unknown): Promise<unknown> => {
    const cluster = new FakeCluster()
    cluster.onDescribeGroups = () => ({ groups: [{ errorCode: 0, groupState: 'Dead', members: [] }] })
    cluster.onConsumerGroupDescribe = () => answer(cluster)
    return new Groups(cluster).members('g', 't').then(
      (members) => members.map(({ id }) => id),
      (error: { code: string }) => error.code,
    )
  }
  const refused = (apiId: string) => (cluster: FakeCluster) => ({ groups: [{ errorCode: cluster.codeOf(apiId), members: [] }] })

  test.each([
    ['is none', refused('GROUP_ID_NOT_FOUND'), []],
    ['is none where the broker has no others', refused('UNSUPPORTED_VERSION'), []],
    ['is one hidden member where it may not be seen', refused('TOPIC_AUTHORIZATION_FAILED'), ['']],
    ['is not known where nobody may ask for it', refused('GROUP_AUTHORIZATION_FAILED'), 'forbidden'],
    [
      'has its members by the names they ask for and by what they were given',
      () => {
        const member = (memberId: string, names: string[], given: string[]) => ({
          memberId,
          subscribedTopicNames: names,
          assignment: { topicPartitions: given.map((topicName) => ({ topicName })) },
        })
        return {
          groups: [{ errorCode: 0, members: [member('names', ['t'], []), member('pattern', [], ['t']), member('other', ['x'], [])] }],
        }
      },
      ['names', 'pattern'],
    ],
  ])('%s', async (_, answer, found) => {
    expect(await asked(answer)).toEqual(found)
  })
})
