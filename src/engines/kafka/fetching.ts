import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionPool } from '@platformatic/kafka'
import type { Cluster } from './cluster.ts'
import { isTransient, isTransientId } from './failure.ts'
import { recordsOf } from './records.ts'

/** How long a broker may wait for something new; what comes to be wanted meanwhile waits as long at most. */
const waitMs = 250
const partBytes = 1024 * 1024
const answerBytes = 4 * 1024 * 1024
const retryMs = 100
const readCommitted = 1

/** One place that is read on. */
export interface Wanted {
  readonly topic: string
  /** Of that topic: another one may get its name. */
  readonly topicId: string
  readonly partition: number
  readonly cursor: number
}

export interface Feeding<T extends Wanted> {
  /** What is to be read, at this moment. */
  wanted(): readonly T[]
  take(part: T, found: ReturnType<typeof recordsOf>): void
  /** The place is gone: where the log begins and ends now. */
  outOfRange(part: T): Promise<void>
  /** The topic was deleted, and another has its name. The part is to be wanted no more. */
  replaced(part: T): void
  /** It cannot be read at the moment, and is tried again; `error`: why, where it is there. */
  unreadable(part: T, error: unknown): void
}

/** A leader changes within so many tries; what fails longer, fails for a reason that somebody should hear. */
const manyFailures = 50

/** Reads partitions on and on, one question at a time to each broker, over connections of its own. */
export class Fetcher<T extends Wanted> {
  readonly #cluster: Cluster
  readonly #feeding: Feeding<T>
  readonly #pool: ConnectionPool
  readonly #busy = new Set<number>()
  /** Failed a moment ago: the others do not wait for them. */
  readonly #resting = new Set<T>()
  /** By leader: how many questions in a row came to nothing. */
  readonly #failures = new Map<number, number>()
  #scheduled = false
  #ended = false

  constructor(cluster: Cluster, feeding: Feeding<T>) {
    this.#cluster = cluster
    this.#feeding = feeding
    this.#pool = cluster.pool()
  }

  wake(): void {
    if (this.#scheduled || this.#ended) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#look()
    })
  }

  end(): void {
    this.#ended = true
    this.#cluster.drop(this.#pool)
  }

  async #look(): Promise<void> {
    let wanted = this.#feeding.wanted()
    const replaced = wanted.filter(({ topic, topicId }) => (this.#cluster.known(topic)?.id ?? topicId) !== topicId)
    if (replaced.length > 0) {
      for (const part of replaced) this.#feeding.replaced(part)
      wanted = this.#feeding.wanted()
    }
    wanted = wanted.filter((part) => !this.#resting.has(part))
    const unknown = wanted.filter((part) => this.#leader(part) < 0)
    if (unknown.length > 0 && !this.#busy.has(-1)) void this.#ask(-1, unknown)
    const byLeader = Map.groupBy(wanted, (part) => this.#leader(part))
    for (const [leader, parts] of byLeader) if (leader >= 0 && !this.#busy.has(leader)) void this.#ask(leader, parts)
  }

  #leader({ topic, partition }: Wanted): number {
    return this.#cluster.known(topic)?.leaders[partition] ?? -1
  }

  async #ask(leader: number, parts: readonly T[]): Promise<void> {
    this.#busy.add(leader)
    try {
      if (leader < 0) await this.#find(parts)
      else await this.#fetch(leader, parts)
      this.#failures.delete(leader)
    } catch (error) {
      if (this.#ended) return
      const failures = (this.#failures.get(leader) ?? 0) + 1
      this.#failures.set(leader, failures)
      if (failures === manyFailures) for (const part of parts) this.#feeding.unreadable(part, error)
      for (const { topic } of parts) this.#cluster.forgetTopic(topic)
      await sleep(retryMs)
    } finally {
      this.#busy.delete(leader)
      if (this.#feeding.wanted().length > 0) this.wake()
    }
  }

  async #find(parts: readonly T[]): Promise<void> {
    let thrown: unknown
    await this.#cluster.refresh([...new Set(parts.map(({ topic }) => topic))], 0).catch((error: unknown) => {
      thrown = error
    })
    for (const part of parts) {
      if (this.#leader(part) >= 0) continue
      this.#rest(part)
      if (thrown === undefined || !isTransient(thrown)) this.#feeding.unreadable(part, thrown)
    }
  }

  #rest(part: T): void {
    this.#resting.add(part)
    setTimeout(() => {
      this.#resting.delete(part)
      this.wake()
    }, retryMs).unref()
  }

  async #fetch(leader: number, parts: readonly T[]): Promise<void> {
    const connection = await this.#cluster.node(leader, this.#pool)
    const topics = [...Map.groupBy(parts, ({ topicId }) => topicId)].map(([topicId, own]) => ({
      topicId,
      partitions: own.map(({ topic, partition, cursor }) => ({
        partition,
        currentLeaderEpoch: this.#cluster.known(topic)?.epochs[partition] ?? -1,
        fetchOffset: BigInt(cursor),
        lastFetchedEpoch: -1,
        partitionMaxBytes: partBytes,
      })),
    }))
    const answer = await this.#cluster.whole(connection, 'Fetch', waitMs, 1, answerBytes, readCommitted, 0, -1, topics, [], '')
    if (this.#ended) return
    this.#cluster.fail(answer.errorCode, 'fetch')
    for (const { topicId, partitions } of answer.responses)
      for (const one of partitions) {
        const part = parts.find((asked) => asked.partition === one.partitionIndex && asked.topicId === topicId)
        if (!part) continue
        const error = this.#cluster.kafka.protocolErrorsCodesById[one.errorCode]
        if (error === 'OFFSET_OUT_OF_RANGE') {
          this.#rest(part)
          await this.#feeding.outOfRange(part)
        } else if (one.errorCode !== 0) {
          this.#cluster.forgetTopic(part.topic)
          this.#rest(part)
          if (!isTransientId(error)) this.#feeding.unreadable(part, new this.#cluster.kafka.ProtocolError(one.errorCode, 'fetch'))
        } else this.#feeding.take(part, recordsOf(one.records, one.abortedTransactions, part.cursor))
      }
  }
}
