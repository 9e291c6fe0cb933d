import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection, ConnectionPool } from '@platformatic/kafka'
import { BusError } from '../../errors.ts'
import { inTime } from '../../within.ts'
import type { Kafka } from './client.ts'
import { answerIn, apiIdOf, isTransient, isTransientId, kafkaError } from './failure.ts'
import type { Target } from './target.ts'
import type { Address } from './url.ts'
import { type RecordApis, recordApis } from './wire.ts'

/** What is asked of brokers; of each the newest version that both sides know. */
interface Calls {
  ApiVersions: Kafka['apiVersionsV3']['api']
  Metadata: Kafka['metadataV12']['api']
  FindCoordinator: Kafka['findCoordinatorV6']['api']
  InitProducerId: Kafka['initProducerIdV5']['api']
  Produce: ReturnType<RecordApis['Produce']>
  Fetch: ReturnType<RecordApis['Fetch']>
  ListOffsets: Kafka['listOffsetsV7']['api']
  OffsetFetch: Kafka['offsetFetchV8']['api']
  OffsetCommit: Kafka['offsetCommitV9']['api']
  OffsetDelete: Kafka['offsetDeleteV0']['api']
  JoinGroup: Kafka['joinGroupV9']['api']
  SyncGroup: Kafka['syncGroupV5']['api']
  Heartbeat: Kafka['heartbeatV4']['api']
  LeaveGroup: Kafka['leaveGroupV5']['api']
  ListGroups: Kafka['listGroupsV5']['api']
  DescribeGroups: Kafka['describeGroupsV5']['api']
  ConsumerGroupDescribe: Kafka['consumerGroupDescribeV0']['api']
  DescribeCluster: Kafka['describeClusterV1']['api']
  CreateTopics: Kafka['createTopicsV7']['api']
  DeleteTopics: Kafka['deleteTopicsV6']['api']
  DeleteRecords: Kafka['deleteRecordsV2']['api']
  DescribeConfigs: Kafka['describeConfigsV4']['api']
  DescribeLogDirs: Kafka['describeLogDirsV4']['api']
}
type Arguments<N extends keyof Calls> = Calls[N] extends { async: (connection: Connection, ...args: infer A) => unknown } ? A : never
export type Answer<N extends keyof Calls> = Calls[N] extends { async: (...args: any[]) => Promise<infer R> } ? R : never

interface Api {
  readonly async: (...args: unknown[]) => Promise<unknown>
}

type Versions = ReadonlyMap<string, { readonly min: number; readonly max: number }>

/** Older brokers name topics in a fetch, and answer for one group at a time: Kafka 3.1 is the oldest that does neither. */
const oldest: Partial<Record<keyof Calls, number>> = { Produce: 9, Fetch: 13, OffsetFetch: 8, FindCoordinator: 4, Metadata: 10 }

export interface Topic {
  readonly name: string
  readonly id: string
  /** The node that leads each partition; -1 = none at the moment. */
  readonly leaders: readonly number[]
  /** How many leaders each had before: a broker that was away for a while is told by it that it leads no more. */
  readonly epochs: readonly number[]
}

/** Brokers, who leads what, and how to ask them. */
export class Cluster {
  readonly kafka: Kafka
  readonly target: Target
  readonly #main: ConnectionPool
  readonly #pools = new Set<ConnectionPool>()
  readonly #nodes = new Map<number, Address>()
  readonly #topics = new Map<string, Topic>()
  readonly #coordinators = new Map<string, number>()
  /** By the topic's id: the newest leaders that any broker knew of. */
  readonly #epochs = new Map<string, number[]>()
  /** Brokers that did not answer, or were behind the others, and when: they are asked last. */
  readonly #shy = new Map<string, number>()
  /** Of each connection: brokers are upgraded one after the other. */
  readonly #versions = new WeakMap<Connection, Promise<Versions>>()
  readonly #records: RecordApis
  /** By name and version. */
  readonly #apis = new Map<string, Api>()
  #controller = -1
  #closed = false
  /** Told when a connection broke that everything goes through. */
  onLoss: () => void = () => {}

  constructor(kafka: Kafka, target: Target) {
    this.kafka = kafka
    this.target = target
    this.#records = recordApis(kafka)
    this.#main = this.pool()
    // Later: at this moment the pool still holds the connection, and would wait for it for ever.
    this.#main.on('disconnect', () => setImmediate(() => this.onLoss()))
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Connections of one's own: a broker answers what comes over one of them in turn, and a fetch may wait. */
  pool(requestTimeoutMs?: number): ConnectionPool {
    const options = { ...this.target.connection, ...(requestTimeoutMs === undefined ? {} : { requestTimeout: requestTimeoutMs }) }
    const pool = new this.kafka.ConnectionPool(this.target.options.name ?? 'cozebus', options)
    // The client tells of one failure twice where a connection breaks while it is authenticated; the second time nobody would hear it.
    pool.on('connecting', ({ connection }) => connection?.on('error', () => {}))
    this.#pools.add(pool)
    return pool
  }

  drop(pool: ConnectionPool): void {
    this.#pools.delete(pool)
    void pool.close().catch(() => {})
  }

  // ── whom to ask ───────────────────────────────────────────────────────────────────────────────────────────────────

  async any(pool = this.#main): Promise<Connection> {
    this.#mustBeOpen()
    const known = [...this.#nodes.values()]
    const first = this.target.brokers.filter(({ host, port }) => !known.some((node) => node.host === host && node.port === port))
    const shyAt = ({ host, port }: Address): number => this.#shy.get(`${host}:${port}`) ?? 0
    return this.#inTime(pool.getFirstAvailable([...known, ...first].sort((a, b) => shyAt(a) - shyAt(b))))
  }

  /** One that is frozen takes connections all the same, and one that was away knows of older leaders. */
  #shun({ host, port }: Connection): void {
    if (host !== undefined) this.#shy.set(`${host}:${port}`, performance.now())
  }

  async node(id: number, pool = this.#main): Promise<Connection> {
    this.#mustBeOpen()
    if (!this.#nodes.has(id)) await this.refresh([])
    const address = this.#nodes.get(id)
    if (!address) throw new BusError('engine_unavailable', `broker ${id} is not there at the moment`)
    return this.#inTime(pool.get(address))
  }

  async controller(): Promise<Connection> {
    if (this.#controller < 0) await this.refresh([])
    return this.#nodes.has(this.#controller) ? this.node(this.#controller) : this.any()
  }

  get nodes(): readonly number[] {
    return [...this.#nodes.keys()]
  }

  address(id: number): Address | undefined {
    return this.#nodes.get(id)
  }

  async coordinator(group: string, pool?: ConnectionPool): Promise<Connection> {
    let id = this.#coordinators.get(group)
    if (id === undefined) {
      const { coordinators } = await this.ask(await this.any(), 'FindCoordinator', 0, [group])
      const [found] = coordinators
      if (found?.errorCode !== 0) {
        const { kafka } = this
        throw new BusError(
          'engine_unavailable',
          `group '${group}' has no coordinator: ${kafka.protocolErrorsCodesById[found?.errorCode ?? -1]}`,
        )
      }
      id = found.nodeId
      this.#nodes.set(id, { host: found.host, port: found.port })
      this.#coordinators.set(group, id)
    }
    return this.node(id, pool)
  }

  forgetCoordinator(group: string): void {
    this.#coordinators.delete(group)
  }

  /** The client waits for ever for a connection that breaks while it is asked for. */
  #inTime(getting: Promise<Connection>): Promise<Connection> {
    const ms = 2 * (this.target.options.connectTimeoutMs ?? 5000)
    return inTime(ms, getting, () => new BusError('engine_unavailable', 'no connection to a broker in time'))
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new BusError('closed', 'the connection to Kafka is closed; connect again')
  }

  // ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One question on this connection. Rejects with what the client throws; {@link whole} for an answer of several parts. */
  async ask<N extends keyof Calls>(connection: Connection, name: N, ...args: Arguments<N>): Promise<Answer<N>> {
    try {
      const api = await this.#api(connection, name)
      return (await api.async(connection, ...args)) as Answer<N>
    } catch (error) {
      if (error instanceof this.kafka.TimeoutError) this.#shun(connection)
      throw error
    }
  }

  /** The same where parts of the answer may be errors of their own: `errorCode` tells. */
  async whole<N extends keyof Calls>(connection: Connection, name: N, ...args: Arguments<N>): Promise<Answer<N>> {
    try {
      return await this.ask(connection, name, ...args)
    } catch (error) {
      const answer = answerIn(error) as Answer<N> | undefined
      if (answer === undefined) throw error
      return answer
    }
  }

  async #api(connection: Connection, name: keyof Calls): Promise<Api> {
    let versions = this.#versions.get(connection)
    if (!versions) {
      versions = this.#learn(connection)
      this.#versions.set(connection, versions)
    }
    const theirs = (await versions).get(name)
    const own = name[0]!.toLowerCase() + name.slice(1)
    for (let version = theirs?.max ?? -1; version >= Math.max(theirs?.min ?? 0, oldest[name] ?? 0); version--) {
      const found = this.#apiOf(name, `${own}V${version}`, version)
      if (found) return found
    }
    throw new BusError('unsupported', `the broker is too old for this: it does not know ${name} as Kafka 3.1 and later do`)
  }

  #apiOf(name: keyof Calls, moduleName: string, version: number): Api | undefined {
    const known = this.#apis.get(moduleName)
    if (known) return known
    const module = (this.kafka as unknown as Record<string, { api: Api } | undefined>)[moduleName]
    if (!module) return undefined
    const records = this.#records as Partial<Record<keyof Calls, (version: number, module: unknown) => Api>>
    const api = records[name]?.(version, module) ?? module.api
    this.#apis.set(moduleName, api)
    return api
  }

  async #learn(connection: Connection): Promise<Versions> {
    try {
      const { apiKeys } = await this.kafka.apiVersionsV3.api.async(connection, 'cozebus', '1')
      return new Map(apiKeys.map(({ name, minVersion, maxVersion }) => [name, { min: minVersion, max: maxVersion }]))
    } catch (error) {
      this.#versions.delete(connection)
      throw error
    }
  }

  /** Again while the answer may come a moment later. @throws BusError */
  async patiently<T>(what: string, ask: () => Promise<T>, forMs = 10_000): Promise<T> {
    const end = performance.now() + forMs
    for (let wait = 20; ; wait = Math.min(500, wait * 2)) {
      try {
        return await ask()
      } catch (error) {
        if (this.#closed || !isTransient(error) || performance.now() + wait > end) throw kafkaError(error, what)
      }
      await sleep(wait)
    }
  }

  /** An error in a part of an answer, as the client would have thrown it. */
  fail(errorCode: number, what: string): void {
    if (errorCode !== 0) throw new this.kafka.ProtocolError(errorCode, what)
  }

  // ── topics ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** As it was last seen, or as it is now; undefined where there is none. */
  async topic(name: string, fresh = false): Promise<Topic | undefined> {
    if (!fresh && this.#topics.has(name)) return this.#topics.get(name)
    await this.refresh([name])
    return this.#topics.get(name)
  }

  forgetTopic(name: string): void {
    this.#topics.delete(name)
  }

  /** Asks who is there and who leads these topics; all of them where none is named. Returns the names that exist. */
  async refresh(names: readonly string[] | undefined, forMs = 10_000): Promise<string[]> {
    return this.patiently('asking for topics', () => this.#refresh(names), forMs)
  }

  /**
   * After an error about these topics: who leads them now? Rejects with the error, or with one that passes
   * where they are there all the same: each broker hears of a new topic in its own time, its leader too.
   */
  async lookAgain(names: readonly string[], error: unknown): Promise<never> {
    await this.refresh(names).catch(() => {})
    const api = apiIdOf(error)
    if ((api === 'UNKNOWN_TOPIC_OR_PARTITION' || api === 'UNKNOWN_TOPIC_ID') && names.every((name) => this.#topics.has(name)))
      // Without its cause: that is what does not pass.
      throw new BusError('engine_unavailable', `a broker does not know of it yet: ${names.join(', ')}`)
    throw error
  }

  /** Of one broker after the other: the first may be frozen. */
  async #metadata(names: readonly string[] | undefined) {
    for (let others = this.#nodes.size + this.target.brokers.length; ; others--) {
      const connection = await this.any()
      try {
        return { connection, answer: await this.whole(connection, 'Metadata', names ? [...names] : null, false, false) }
      } catch (error) {
        if (others <= 1 || !(error instanceof this.kafka.TimeoutError)) throw error
      }
    }
  }

  async #refresh(names: readonly string[] | undefined): Promise<string[]> {
    const { connection, answer } = await this.#metadata(names)
    this.#nodes.clear()
    for (const { nodeId, host, port } of answer.brokers) this.#nodes.set(nodeId, { host, port })
    this.#controller = answer.controllerId
    const found: string[] = []
    let failed = 0
    let known = 0
    for (const { errorCode, name, topicId, partitions, isInternal } of answer.topics) {
      if (!name) continue
      const error = this.kafka.protocolErrorsCodesById[errorCode]
      if (error === 'UNKNOWN_TOPIC_OR_PARTITION') {
        this.#epochs.delete(this.#topics.get(name)?.id ?? '')
        this.#topics.delete(name)
      } else if (errorCode !== 0) {
        if (!isTransientId(error)) this.#topics.delete(name)
        if (failed === 0 || isTransientId(error)) failed = errorCode
      } else {
        known++
        const leaders: number[] = []
        const epochs = [...(this.#epochs.get(topicId) ?? [])]
        for (const { partitionIndex: i, leaderId, leaderEpoch } of partitions) {
          const old = leaderEpoch < (epochs[i] ?? -1)
          // To what led before the newest was never written.
          leaders[i] = old ? -1 : leaderId
          if (old) this.#shun(connection)
          else epochs[i] = leaderEpoch
        }
        this.#epochs.set(topicId, epochs)
        this.#topics.set(name, { name, id: topicId, leaders, epochs })
        if (!isInternal) found.push(name)
      }
    }
    // All the others are known by now. One that this user may not see is no reason to go without them.
    if (known === 0 || isTransientId(this.kafka.protocolErrorsCodesById[failed])) this.fail(failed, 'topics')
    return found
  }

  /** As it was last seen. */
  known(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled([...this.#pools].map((pool) => pool.close()))
  }
}
