import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionPool } from '@platformatic/kafka'
import type { Cluster } from './cluster.ts'
import { isTransient, isTransientId } from './failure.ts'
import { recordsOf } from './records.ts'

/** How long a broker may wait for something new. */
const waitMs = 250
/** To each broker: what comes to be wanted while one waits goes over the next; past them it waits as long at most. */
const mostConnections = 2
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

/** One connection to a leader. */
interface Line<T> {
  readonly pool: ConnectionPool
  /** What is asked for over it at this moment. */
  parts: readonly T[]
  /** How many questions in a row came to nothing. */
  failures: number
}

/** A leader changes within so many tries; what fails longer, fails for a reason that somebody should hear. */
const manyFailures = 50

/** Reads partitions on and on, one question at a time over each of a few connections of its own to a broker. */
export class Fetcher<T extends Wanted> {
  readonly #cluster: Cluster
  readonly #feeding: Feeding<T>
  readonly #pools: ConnectionPool[] = []
  /** By leader; of leader -1 those of which nobody knows who leads them. */
  readonly #lines = new Map<number, Line<T>[]>()
  /** Failed a moment ago: the others do not wait for them. */
  readonly #resting = new Set<T>()
  #scheduled = false
  #ended = false

  constructor(cluster: Cluster, feeding: Feeding<T>) {
    this.#cluster = cluster
    this.#feeding = feeding
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
    for (const pool of this.#pools) this.#cluster.drop(pool)
  }

  async #look(): Promise<void> {
    if (this.#ended) return
    let wanted = this.#feeding.wanted()
    const replaced = wanted.filter(({ topic, topicId }) => (this.#cluster.known(topic)?.id ?? topicId) !== topicId)
    if (replaced.length > 0) {
      for (const part of replaced) this.#feeding.replaced(part)
      wanted = this.#feeding.wanted()
    }
    wanted = wanted.filter((part) => !this.#resting.has(part))
    for (const [leader, all] of Map.groupBy(wanted, (part) => this.#leader(part))) {
      // A leader that does not answer any more keeps nothing from the next one.
      const asked = new Set(this.#lines.get(leader)?.flatMap(({ parts }) => parts))
      const parts = all.filter((part) => !asked.has(part))
      const line = parts.length > 0 ? this.#lineTo(leader) : undefined
      if (line) void this.#ask(leader, line, parts)
    }
  }

  /** One over which nothing is asked for; undefined: all of them wait for an answer. */
  #lineTo(leader: number): Line<T> | undefined {
    const lines = this.#lines.get(leader) ?? []
    this.#lines.set(leader, lines)
    const free = lines.find(({ parts }) => parts.length === 0)
    if (free || lines.length >= (leader < 0 ? 1 : mostConnections)) return free
    const line: Line<T> = { pool: (this.#pools[lines.length] ??= this.#cluster.pool()), parts: [], failures: 0 }
    lines.push(line)
    return line
  }

  #leader({ topic, partition }: Wanted): number {
    return this.#cluster.known(topic)?.leaders[partition] ?? -1
  }

  async #ask(leader: number, line: Line<T>, parts: readonly T[]): Promise<void> {
    line.parts = parts
    try {
      if (leader < 0) await this.#find(parts)
      else await this.#fetch(leader, line)
      line.failures = 0
    } catch (error) {
      if (this.#ended) return
      if (++line.failures === manyFailures) for (const part of parts) this.#feeding.unreadable(part, error)
      for (const { topic } of parts) this.#cluster.forgetTopic(topic)
      await sleep(retryMs)
    } finally {
      line.parts = []
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

  async #fetch(leader: number, { pool, parts }: Line<T>): Promise<void> {
    const connection = await this.#cluster.node(leader, pool)
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
        } else if (one.broken !== undefined) {
          this.#rest(part)
          this.#feeding.unreadable(part, one.broken)
        } else this.#feeding.take(part, recordsOf(one.records, one.abortedTransactions, part.cursor))
      }
  }
}
