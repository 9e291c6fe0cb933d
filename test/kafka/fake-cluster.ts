import type { Connection } from '@platformatic/kafka'
import { onTestFinished } from 'vitest'
import type { Delivery, DeliverySink, Source, SubscriptionSpec } from '../../src/engines/engine.ts'
import { type Kafka, loadKafka } from '../../src/engines/kafka/client.ts'
import { Cluster } from '../../src/engines/kafka/cluster.ts'
import type { KafkaOptions } from '../../src/engines/kafka/options.ts'
import { type Batch, decodeBatches } from '../../src/engines/kafka/record-batch.ts'
import { KafkaSubscription } from '../../src/engines/kafka/subscription.ts'
import { resolveTarget } from '../../src/engines/kafka/target.ts'
import { Topics } from '../../src/engines/kafka/topics.ts'
import type { ProduceTopic } from '../../src/engines/kafka/wire.ts'

type Answer = (...args: any[]) => unknown
interface Log {
  readonly id: string
  readonly partitions: string[][]
}
interface CommitTopic {
  readonly name: string
  readonly partitions: readonly { partitionIndex: number; committedOffset: bigint; committedMetadata: string }[]
}

const kafka: Kafka = await loadKafka()

/** Connections that there are not: what is asked of a broker is answered here, by one that has one member in each group. */
export class FakeCluster extends Cluster {
  readonly logs = new Map<string, Log>()
  readonly committed = new Map<string, { offset: number; metadata: string }>()
  /** What was asked, in its order. */
  readonly asked: string[] = []
  /** Asked before the answer that is given here: an error that it throws is the answer. */
  readonly before = new Map<string, Answer>()
  /** By topic and partition: the error that a commit of it gets. */
  readonly refusals = new Map<string, string>()
  generation = 0
  producers = 0

  constructor(options: KafkaOptions = {}) {
    super(kafka, resolveTarget('kafka://fake:1', options))
  }

  make(name: string, partitions = 1): void {
    this.logs.set(name, { id: `id of ${name}`, partitions: Array.from({ length: partitions }, () => []) })
  }

  put(name: string, ...bodies: string[]): void {
    this.logs.get(name)!.partitions[0]!.push(...bodies)
  }

  times(name: string): number {
    return this.asked.filter((one) => one === name).length
  }

  codeOf(apiId: string): number {
    const found = Object.entries(kafka.protocolErrorsCodesById).find(([, id]) => id === apiId)
    if (!found) throw new Error(`Kafka has no error ${apiId}`)
    return Number(found[0])
  }

  error(apiId: string): Error {
    return new kafka.ProtocolError(this.codeOf(apiId), apiId)
  }

  override async any(): Promise<Connection> {
    return {} as Connection
  }
  override async node(): Promise<Connection> {
    return {} as Connection
  }
  override async coordinator(): Promise<Connection> {
    return {} as Connection
  }
  override async close(): Promise<void> {}

  override async ask(_connection: Connection, name: any, ...args: any[]): Promise<any> {
    this.asked.push(name)
    await this.before.get(name)?.(...args)
    return (this as unknown as Record<string, Answer>)[`on${name}`]!(...args)
  }

  override whole(connection: Connection, name: any, ...args: any[]): Promise<any> {
    return this.ask(connection, name, ...args)
  }

  onMetadata(names: string[] | null) {
    const topics = (names ?? [...this.logs.keys()]).map((name) => {
      const log = this.logs.get(name)
      const partitions = log?.partitions.map((_, partitionIndex) => ({ partitionIndex, leaderId: 1, leaderEpoch: 1 })) ?? []
      return { errorCode: log ? 0 : 3, name, topicId: log?.id ?? '', partitions, isInternal: false }
    })
    return { brokers: [{ nodeId: 1, host: 'fake', port: 1 }], controllerId: 1, topics }
  }

  onJoinGroup(_group: string, _session: number, _rebalance: number, memberId: string, _instance: null, _type: string, protocols: any[]) {
    const id = memberId || 'm1'
    return {
      memberId: id,
      leader: id,
      generationId: ++this.generation,
      protocolName: protocols[0].name,
      members: [{ memberId: id, metadata: protocols[0].metadata }],
    }
  }

  onSyncGroup(...args: any[]) {
    const assignments = args[6] as { memberId: string; assignment: Buffer }[]
    return { assignment: assignments.find(({ memberId }) => memberId === args[2])?.assignment ?? Buffer.alloc(0) }
  }

  onHeartbeat() {
    return {}
  }
  onLeaveGroup() {
    return {}
  }
  onDescribeGroups(): unknown {
    return { groups: [{ errorCode: 0, members: [] }] }
  }
  onConsumerGroupDescribe(): unknown {
    return { groups: [{ errorCode: this.codeOf('GROUP_ID_NOT_FOUND'), members: [] }] }
  }

  onOffsetFetch([{ topics }]: [{ topics: { name: string; partitionIndexes: number[] }[] }]) {
    const found = topics.map(({ name, partitionIndexes }) => ({
      name,
      partitions: partitionIndexes.map((partitionIndex) => {
        const one = this.committed.get(`${name}/${partitionIndex}`)
        return { partitionIndex, committedOffset: BigInt(one?.offset ?? -1), metadata: one?.metadata ?? '', errorCode: 0 }
      }),
    }))
    return { groups: [{ errorCode: 0, topics: found }] }
  }

  onOffsetCommit(_group: string, _generation: number, _member: string, _instance: null, topics: CommitTopic[]) {
    return {
      topics: topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex, committedOffset, committedMetadata }) => {
          const scope = `${name}/${partitionIndex}`
          const refusal = this.refusals.get(scope)
          if (refusal === undefined) this.committed.set(scope, { offset: Number(committedOffset), metadata: committedMetadata })
          return { partitionIndex, errorCode: refusal === undefined ? 0 : this.codeOf(refusal) }
        }),
      })),
    }
  }

  onListOffsets(
    _replica: number,
    _isolation: number,
    topics: { name: string; partitions: { partitionIndex: number; timestamp: bigint }[] }[],
  ) {
    return {
      topics: topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex, timestamp }) => ({
          partitionIndex,
          offset: BigInt(timestamp === -1n ? (this.logs.get(name)?.partitions[partitionIndex]?.length ?? 0) : 0),
          timestamp: -1n,
        })),
      })),
    }
  }

  onListGroups(): unknown {
    return { groups: [] }
  }
  onDescribeCluster() {
    return { clusterAuthorizedOperations: -1 }
  }

  onInitProducerId() {
    return { producerId: BigInt(++this.producers), producerEpoch: 0 }
  }

  onProduce(_acks: number, _timeout: number, topics: readonly ProduceTopic[]) {
    const responses = topics.map(({ name, partitions }) => ({
      name,
      partitionResponses: partitions.map(({ index, records }) => {
        const log = this.logs.get(name)!.partitions[index]!
        const baseOffset = BigInt(log.length)
        for (const { records: own } of decodeBatches([records], {})) log.push(...own.map(({ value }) => String(value)))
        return { index, errorCode: 0, baseOffset }
      }),
    }))
    return { responses }
  }

  async onFetch(...args: any[]) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    const topics = args[6] as { topicId: string; partitions: { partition: number; fetchOffset: bigint }[] }[]
    return {
      errorCode: 0,
      responses: topics.map(({ topicId, partitions }) => {
        const log = [...this.logs.values()].find(({ id }) => id === topicId)
        return {
          topicId,
          partitions: partitions.map(({ partition, fetchOffset }) => {
            const bodies = log?.partitions[partition]?.slice(Number(fetchOffset)) ?? []
            return { partitionIndex: partition, errorCode: 0, records: batchesOf(bodies, Number(fetchOffset)), abortedTransactions: [] }
          }),
        }
      }),
    }
  }
}

function batchesOf(bodies: readonly string[], firstOffset: number): Batch[] {
  if (bodies.length === 0) return []
  const records = bodies.map((body, i) => {
    // `key=body`
    const [key, value] = body.includes('=') ? body.split('=') : [null, body]
    return {
      offset: firstOffset + i,
      timestampMs: 1,
      key: key === null ? null : Buffer.from(key!),
      value: Buffer.from(value!),
      headers: [],
      size: body.length + 10,
    }
  })
  return [{ firstOffset, attributes: 0, producerId: -1n, lastOffsetDelta: bodies.length - 1, records }]
}

/** A member, until the test ends, and what it was told. */
export function memberOf(
  cluster: Cluster,
  storages: readonly string[],
  changes: Partial<SubscriptionSpec> & Partial<Pick<Source, 'filter' | 'lanes'>> = {},
) {
  const deliveries: Delivery[] = []
  const warnings: string[] = []
  const holds = new Set<string>()
  const sink: DeliverySink = {
    deliver: (batch) => void deliveries.push(...batch),
    lost: () => {},
    assigned: (scope) => void holds.add(scope),
    leaving: () => {},
    revoked: (scope) => void holds.delete(scope),
    warned: (text) => void warnings.push(text),
  }
  const { filter, lanes, ...rest } = changes
  const sources = storages.map((storage): Source => ({ storage, filter, lanes: lanes ?? storage, from: 'earliest' }))
  const spec: SubscriptionSpec = { group: 'g', sources, order: 'none', orderScope: 'group', leaseMs: 30_000, member: 'm', ...rest }
  const subscription = new KafkaSubscription(cluster, new Topics(cluster), spec, sink, () => {})
  onTestFinished(() => subscription.close())
  const texts = (): string[] => deliveries.map(({ body }) => Buffer.from(body).toString())
  return { subscription, deliveries, warnings, holds, texts }
}

/** The same once it has joined, with credit for all that comes. */
export async function joined(...args: Parameters<typeof memberOf>): Promise<ReturnType<typeof memberOf>> {
  const member = memberOf(...args)
  await member.subscription.start()
  member.subscription.grant(1000, 1e9)
  return member
}
