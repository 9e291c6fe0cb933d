import type { ReadFrom, Source } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { apiFailure, apiIdOf, isTransientId } from './failure.ts'

/** What a broker looks for in a partition: an end of it, a time, or the newest time in it. */
const places = { end: -1n, start: -2n, newest: -3n } as const
type Wanted = Exclude<ReadFrom, string> | keyof typeof places

/** Offset and time of what was found; -1 for nothing. */
interface Found {
  readonly offset: number
  readonly timestampMs: number
}

/** By topic and partition. One question to each broker. */
export async function findOffsets(cluster: Cluster, topics: readonly Topic[], wanted: Wanted): Promise<Map<string, Found[]>> {
  const timestamp = typeof wanted === 'object' ? BigInt(Math.max(0, Math.floor(wanted.timeMs))) : places[wanted]
  return cluster.patiently('looking for offsets', async () => {
    const known = topics.map((topic) => cluster.known(topic.name) ?? topic)
    const found = new Map<string, Found[]>(known.map(({ name }) => [name, []]))
    const questions = new Map<number, Map<string, number[]>>()
    for (const { name, leaders } of known)
      for (const [partition, leader] of leaders.entries()) {
        const own = questions.get(leader) ?? new Map<string, number[]>()
        questions.set(leader, own.set(name, [...(own.get(name) ?? []), partition]))
      }
    try {
      await Promise.all(
        [...questions].map(async ([leader, own]) => {
          const asked = [...own].map(([name, partitions]) => ({
            name,
            partitions: partitions.map((partitionIndex) => ({
              partitionIndex,
              currentLeaderEpoch: cluster.known(name)?.epochs[partitionIndex] ?? -1,
              timestamp,
            })),
          }))
          const answer = await cluster.ask(await cluster.node(leader), 'ListOffsets', -1, 0, asked)
          for (const { name, partitions } of answer.topics)
            for (const { partitionIndex, offset, timestamp: at } of partitions)
              found.get(name)![partitionIndex] = { offset: Number(offset), timestampMs: Number(at) }
        }),
      )
    } catch (error) {
      const names = known.map(({ name }) => name)
      await cluster.lookAgain(names, error)
    }
    return found
  })
}

/** One offset for each partition. A time past the last record is the end. */
export async function listOffsets(cluster: Cluster, topic: Topic, from: Exclude<ReadFrom, string> | 'start' | 'end'): Promise<number[]> {
  const found = (await findOffsets(cluster, [topic], from)).get(topic.name)!.map(({ offset }) => offset)
  if (found.every((offset) => offset >= 0)) return found
  const ends = await listOffsets(cluster, topic, 'end')
  return found.map((offset, i) => (offset < 0 ? ends[i]! : offset))
}

/** What a group has committed of a partition. */
export interface Committed {
  readonly offset: number
  readonly metadata: string
}

/** By topic and partition; what the group never committed is missing. */
export async function committedOffsets(
  cluster: Cluster,
  group: string,
  topics: readonly Topic[],
): Promise<Map<string, Map<number, Committed>>> {
  const { stands, refused } = await readCommitted(cluster, group, topics)
  for (const [topic, errorCode] of refused)
    throw apiFailure(cluster.kafka.protocolErrorsCodesById[errorCode]!, undefined, `group '${group}', topic '${topic}'`)
  return stands
}

/** The same where some topics may be refused: the error of each beside what there is of the others. */
export async function readCommitted(cluster: Cluster, group: string, topics: readonly Topic[]) {
  return cluster.patiently(`group '${group}'`, async () => {
    const wanted = topics.map(({ name, leaders }) => ({ name, partitionIndexes: [...leaders.keys()] }))
    try {
      const answer = await cluster.whole(
        await cluster.coordinator(group),
        'OffsetFetch',
        [{ groupId: group, memberId: null, memberEpoch: -1, topics: wanted }],
        false,
      )
      const found = answer.groups[0]!
      cluster.fail(found.errorCode, `group '${group}'`)
      const stands = new Map<string, Map<number, Committed>>()
      const refused = new Map<string, number>()
      for (const { name, partitions } of found.topics) {
        const own = new Map<number, Committed>()
        for (const { partitionIndex, committedOffset, metadata, errorCode } of partitions) {
          if (isTransientId(cluster.kafka.protocolErrorsCodesById[errorCode])) cluster.fail(errorCode, `group '${group}'`)
          if (errorCode !== 0) refused.set(name, errorCode)
          else if (committedOffset >= 0n) own.set(partitionIndex, { offset: Number(committedOffset), metadata: metadata ?? '' })
        }
        if (own.size > 0) stands.set(name, own)
      }
      return { stands, refused }
    } catch (error) {
      cluster.forgetCoordinator(group)
      throw error
    }
  })
}

/** What may be committed: by a member, or by nobody while the group has none. */
export interface Membership {
  readonly generation: number
  readonly memberId: string
}

export const nobody: Membership = { generation: -1, memberId: '' }

/** By topic and partition: the error of each; 0 = it is committed. Rejects with what the client throws. */
export async function commitEach(
  cluster: Cluster,
  group: string,
  { generation, memberId }: Membership,
  offsets: ReadonlyMap<string, ReadonlyMap<number, Committed>>,
): Promise<Map<string, Map<number, number>>> {
  const topics = [...offsets].map(([name, partitions]) => ({
    name,
    partitions: [...partitions].map(([partitionIndex, { offset, metadata }]) => ({
      partitionIndex,
      committedOffset: BigInt(offset),
      committedLeaderEpoch: -1,
      committedMetadata: metadata,
    })),
  }))
  const answer = await cluster.whole(await cluster.coordinator(group), 'OffsetCommit', group, generation, memberId, null, topics)
  return new Map(
    answer.topics.map(({ name, partitions }) => [
      name,
      new Map(partitions.map(({ partitionIndex, errorCode }) => [partitionIndex, errorCode])),
    ]),
  )
}

/** All of them. Rejects with what the client throws. */
export async function commitOffsets(
  cluster: Cluster,
  group: string,
  who: Membership,
  offsets: ReadonlyMap<string, ReadonlyMap<number, Committed>>,
): Promise<void> {
  if (offsets.size === 0) return
  for (const codes of (await commitEach(cluster, group, who, offsets)).values())
    for (const errorCode of codes.values()) cluster.fail(errorCode, `group '${group}'`)
}

/** Puts the group where it is to begin, in what it never committed of the topic. False: only a member may, or not at this moment. */
export async function admit(cluster: Cluster, group: string, who: Membership, topic: Topic, from: Source['from']): Promise<boolean> {
  const stands = (await committedOffsets(cluster, group, [topic])).get(topic.name)
  const missing = [...topic.leaders.keys()].filter((partition) => !stands?.has(partition))
  if (missing.length === 0) return true
  // Of a topic that it reads already, partitions are missing that were added since: it has read nothing of them.
  const begin = await listOffsets(cluster, topic, from === 'earliest' || stands !== undefined ? 'start' : from === 'new' ? 'end' : from)
  const places = new Map(missing.map((partition) => [partition, { offset: begin[partition]!, metadata: '' }]))
  try {
    await cluster.patiently(`group '${group}', topic '${topic.name}'`, () =>
      commitOffsets(cluster, group, who, new Map([[topic.name, places]])).catch((error: unknown) => cluster.lookAgain([topic.name], error)),
    )
    return true
  } catch (error) {
    const api = apiIdOf((error as { cause?: unknown }).cause ?? error)
    if (api === 'UNKNOWN_MEMBER_ID' || api === 'ILLEGAL_GENERATION' || api === 'REBALANCE_IN_PROGRESS') return false
    throw error
  }
}
