import type { Connection } from '@platformatic/kafka'
import { BusError } from '../../errors.ts'
import { decodeSaid, type Said } from './assigning.ts'
import type { Answer, Cluster, Topic } from './cluster.ts'
import { type Committed, committedOffsets } from './offsets.ts'

const offsetsTopic = '__consumer_offsets'
/** `UNSUPPORTED_VERSION`: of a broker that was told to have no groups of the newer protocol. */
const noSuchGroup = new Set(['GROUP_ID_NOT_FOUND', 'UNSUPPORTED_VERSION'])
/** A bit of what a user may do with the cluster. */
const mayDescribe = 1 << 8

/** Who is in a group now. */
export interface Present {
  readonly id: string
  /** It has said nothing yet. */
  readonly joining: boolean
  readonly topics: readonly string[]
  readonly said: Said | undefined
  /** Stands for all of a group that reads, among others, what this user may not see: the broker tells nothing of such a one. */
  readonly hidden?: true
}

/** Groups as the brokers tell of them. */
export class Groups {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  async names(): Promise<string[]> {
    return this.#cluster.patiently('listing the groups', async () => {
      await this.#cluster.refresh([])
      const found = new Set<string>()
      for (const node of this.#cluster.nodes) {
        const { groups } = await this.#cluster.ask(await this.#cluster.node(node), 'ListGroups', [], [])
        for (const { groupId, protocolType } of groups) if (protocolType === 'consumer' || protocolType === '') found.add(groupId)
      }
      return [...found]
    })
  }

  async present(group: string): Promise<Present[]> {
    const { kafka } = this.#cluster
    return this.#cluster.patiently(`group '${group}'`, async () => {
      try {
        const connection = await this.#cluster.coordinator(group)
        const { groups } = await this.#cluster.whole(connection, 'DescribeGroups', [group], false)
        const [found] = groups
        const error = kafka.protocolErrorsCodesById[found?.errorCode ?? 0]
        if (error !== 'GROUP_ID_NOT_FOUND') this.#cluster.fail(found?.errorCode ?? 0, `group '${group}'`)
        if (found?.groupState === 'Dead') return await this.#ofNewer(connection, group)
        return (found?.members ?? []).map(({ memberId: id, memberMetadata }): Present => {
          if (memberMetadata.length === 0) return { id, joining: true, topics: [], said: undefined }
          const { topics, userData } = kafka.decodeConsumerProtocolSubscription(memberMetadata)
          return { id, joining: false, topics, said: decodeSaid(userData) }
        })
      } catch (error) {
        this.#cluster.forgetCoordinator(group)
        throw error
      }
    })
  }

  /** A group of the newer protocol (KIP-848) is none to whoever asks for one of the classic. */
  async #ofNewer(connection: Connection, group: string): Promise<Present[]> {
    let found: Answer<'ConsumerGroupDescribe'>
    try {
      found = await this.#cluster.whole(connection, 'ConsumerGroupDescribe', [group], false)
    } catch (error) {
      // By a broker that knows no such groups.
      if (error instanceof BusError && error.code === 'unsupported') return []
      throw error
    }
    const [own] = found.groups
    const error = this.#cluster.kafka.protocolErrorsCodesById[own?.errorCode ?? 0]!
    if (noSuchGroup.has(error)) return []
    if (error === 'TOPIC_AUTHORIZATION_FAILED') return [{ id: '', joining: false, topics: [], said: undefined, hidden: true }]
    this.#cluster.fail(own?.errorCode ?? 0, `group '${group}'`)
    return (own?.members ?? []).map(({ memberId: id, subscribedTopicNames, assignment }): Present => {
      const assigned = assignment.topicPartitions.map(({ topicName }) => topicName)
      return { id, joining: false, topics: [...subscribedTopicNames, ...assigned], said: undefined }
    })
  }

  /** The members of a group that read the topic, and those that may, or are about to let go of it. */
  async members(group: string, topic: string): Promise<Present[]> {
    return (await this.present(group)).filter(
      ({ joining, hidden, topics, said }) => joining || hidden || topics.includes(topic) || said?.owned[topic],
    )
  }

  /** Where each group stands that reads the topic; `also`: groups that are asked for even if no broker names them. */
  async on(topic: Topic, also: Iterable<string> = []): Promise<Map<string, Map<number, Committed>>> {
    const found = new Map<string, Map<number, Committed>>()
    await Promise.all(
      [...new Set([...(await this.names()), ...also])].map(async (group) => {
        const stands = (await committedOffsets(this.#cluster, group, [topic])).get(topic.name)
        if (stands) found.set(group, stands)
      }),
    )
    return found
  }

  /**
   * Brokers leave out of a list, without a word, the groups that this user may not see, and those whose offsets have no leader
   * at the moment. @throws BusError `forbidden`, `engine_unavailable` where there may be such
   */
  async mustSeeAll(): Promise<void> {
    const { clusterAuthorizedOperations } = await this.#cluster.ask(await this.#cluster.any(), 'DescribeCluster', true, 1)
    if ((clusterAuthorizedOperations & mayDescribe) === 0)
      throw new BusError(
        'forbidden',
        'this user may not see all groups, and so cannot know what they have read: it needs Describe on the cluster',
      )
    const offsets = await this.#cluster.topic(offsetsTopic, true)
    if (offsets?.leaders.some((leader) => leader < 0))
      throw new BusError('engine_unavailable', 'some groups cannot be seen at the moment: their offsets have no leader')
  }

  /** As far as they can be told of without a commit: groups that have just come to it; and those of which nothing is told. */
  async reading(topic: Topic, but: ReadonlyMap<string, unknown>): Promise<{ readonly group: string; readonly hidden: boolean }[]> {
    const others = (await this.names()).filter((group) => !but.has(group))
    const members = await Promise.all(others.map((group) => this.members(group, topic.name)))
    return others.flatMap((group, i) => (members[i]!.length > 0 ? [{ group, hidden: members[i]!.some(({ hidden }) => hidden) }] : []))
  }
}
