import type { Connection, ConnectionPool } from '@platformatic/kafka'
import { BusError } from '../../errors.ts'
import type { Cluster } from './cluster.ts'
import { apiFailure, isTransient, kafkaError } from './failure.ts'
import { type Done, type Identity, Lane, type Stored } from './lane.ts'
import { type Codec, encodeBatch } from './record-batch.ts'
import { type Sending, sizeOf } from './records.ts'
import type { ProduceTopic } from './wire.ts'

const answerMs = 10_000

/** After these nobody knows how the broker counts this producer's batches. */
const outOfStep = new Set(['OUT_OF_ORDER_SEQUENCE_NUMBER', 'UNKNOWN_PRODUCER_ID', 'INVALID_PRODUCER_EPOCH', 'INVALID_PRODUCER_ID_MAPPING'])

/** A no after which it may be stored all the same: the leader had written it, and not heard of its copies in time. */
const mayBeStored = new Set([
  'REQUEST_TIMED_OUT',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'NOT_LEADER_OR_FOLLOWER',
  'FENCED_LEADER_EPOCH',
  'NETWORK_EXCEPTION',
  'KAFKA_STORAGE_ERROR',
])

/**
 * An idempotent producer. The broker knows each batch by its number, so a batch that was not answered is sent again until it
 * is, and stored once. One batch of a partition is under way at a time: its order is that of handing in, whatever fails.
 */
export class Producer {
  readonly #cluster: Cluster
  readonly #batchBytes: number
  readonly #forMs: number
  readonly #lanes: Lane[] = []
  /** By topic and partition. */
  readonly #byTopic = new Map<string, Lane[]>()
  readonly #busy = new Set<number>()
  /** Of its own: a broker answers what comes over one connection in turn, and copies that are slow would hold up all else. */
  readonly #pool: ConnectionPool
  #identity: Promise<Identity> | undefined
  #timer: NodeJS.Timeout | undefined
  #scheduled = false
  #looking = false
  #closed = false
  #idle: (() => void)[] = []

  constructor(cluster: Cluster, batchBytes: number) {
    this.#cluster = cluster
    this.#batchBytes = batchBytes
    this.#pool = cluster.pool()
    this.#forMs = cluster.target.options.publishTimeoutMs ?? 25_000
  }

  send(record: Sending): Promise<Stored> {
    return new Promise((done) => this.push(record, sizeOf(record), done, 0))
  }

  /** The same for one of many: `done` is told which of them it is, and a promise for each costs more than all the rest. */
  push(record: Sending, size: number, done: Done, place: number): void {
    if (this.#closed) {
      done({ ok: false, error: new BusError('closed', 'the engine is closed') }, place)
      return
    }
    this.#laneOf(record).queue.push({ record, size, deadline: performance.now() + this.#forMs, done, place })
    this.#schedule()
  }

  #laneOf({ topic, partition }: Sending): Lane {
    let own = this.#byTopic.get(topic)
    if (!own) this.#byTopic.set(topic, (own = []))
    let lane = own[partition]
    if (!lane) {
      lane = own[partition] = new Lane(topic, partition)
      this.#lanes.push(lane)
    }
    return lane
  }

  /** Resolves once nothing is under way any more; what was not answered by then is told so. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#busy.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
    clearTimeout(this.#timer)
    for (const lane of this.#lanes) this.#refuse(lane, new BusError('closed', 'the engine was closed'), true)
  }

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #schedule(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#sendAll()
    })
  }

  async #sendAll(): Promise<void> {
    const now = performance.now()
    const ready = this.#lanes.filter((lane) => !lane.flying && !lane.empty && lane.notBefore <= now)
    const unknown = ready.filter((lane) => lane.stale || this.#leader(lane) < 0)
    if (unknown.length > 0 && !this.#looking) void this.#look(unknown)
    const lanes = Map.groupBy(
      ready.filter((lane) => !unknown.includes(lane)),
      (lane) => this.#leader(lane),
    )
    for (const [leader, own] of lanes) if (!this.#busy.has(leader)) void this.#sendTo(leader, own)
    this.#wakeWhenDue(now)
  }

  #leader({ topic, partition }: Lane): number {
    return this.#cluster.known(topic)?.leaders[partition] ?? -1
  }

  async #look(lanes: readonly Lane[]): Promise<void> {
    this.#looking = true
    try {
      await this.#cluster.refresh([...new Set(lanes.map(({ topic }) => topic))], 0)
      for (const lane of lanes) {
        lane.stale = false
        if (!this.#cluster.known(lane.topic)) this.#refuse(lane, new BusError('not_found', `topic '${lane.topic}' does not exist`), true)
        else if (this.#leader(lane) < 0) this.#again(lane)
      }
    } catch {
      for (const lane of lanes) this.#again(lane)
    } finally {
      this.#looking = false
      this.#schedule()
    }
  }

  #wakeWhenDue(now: number): void {
    clearTimeout(this.#timer)
    let due = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes) if (!lane.flying && !lane.empty && lane.notBefore > now) due = Math.min(due, lane.notBefore)
    if (due < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.#schedule(), Math.max(1, due - performance.now()))
  }

  async #sendTo(leader: number, lanes: readonly Lane[]): Promise<void> {
    this.#busy.add(leader)
    for (const lane of lanes) {
      lane.flying = true
      lane.fill(this.#batchBytes)
    }
    try {
      await this.#produce(leader, lanes)
    } finally {
      for (const lane of lanes) lane.flying = false
      this.#busy.delete(leader)
      if (this.#busy.size === 0) for (const resolve of this.#idle.splice(0)) resolve()
      this.#schedule()
    }
  }

  async #produce(leader: number, all: readonly Lane[]): Promise<void> {
    try {
      const connection = await this.#cluster.node(leader, this.#pool)
      const identity = await this.#who()
      for (const lane of all) number(lane, identity)
      await this.#ask(connection, all, await this.#encode(all))
    } catch (error) {
      for (const lane of all) this.#failed(lane, error)
    }
  }

  async #encode(lanes: readonly Lane[]): Promise<ProduceTopic[]> {
    const { kafka, target } = this.#cluster
    const { compression = 'none' } = target.options
    const codec: Codec | undefined = compression === 'none' ? undefined : kafka.compressionsAlgorithms[compression]
    // Of anything but its own kind of buffer the client makes a copy first.
    const checksum = (bytes: Buffer): number => kafka.crc32c(kafka.Writer.create().append(bytes).dynamicBuffer)
    const batches = lanes.map(async ({ topic, partition, batch, identity, sequence }) => {
      const bytes = batch.reduce((sum, { size }) => sum + size, 0)
      const records = batch.map(({ record }) => record)
      return { topic, index: partition, records: await encodeBatch(records, bytes, identity!, sequence, checksum, codec) }
    })
    return [...Map.groupBy(await Promise.all(batches), ({ topic }) => topic)].map(([name, partitions]) => ({ name, partitions }))
  }

  async #ask(connection: Connection, lanes: readonly Lane[], topics: readonly ProduceTopic[]): Promise<void> {
    try {
      const answer = await this.#cluster.whole(connection, 'Produce', -1, answerMs, topics)
      this.#answered(lanes, answer.responses)
    } catch (error) {
      for (const lane of lanes) {
        if (lane.batch.length === 0) continue
        lane.doubtful = true
        this.#failed(lane, error)
      }
    }
  }

  #answered(
    lanes: readonly Lane[],
    topics: readonly {
      readonly name: string
      readonly partitionResponses: readonly {
        index: number
        errorCode: number
        baseOffset: bigint
        errorMessage?: string | null | undefined
      }[]
    }[],
  ): void {
    for (const lane of lanes) {
      const answer = topics.find(({ name }) => name === lane.topic)?.partitionResponses.find(({ index }) => index === lane.partition)
      const id =
        answer === undefined
          ? 'NETWORK_EXCEPTION'
          : (this.#cluster.kafka.protocolErrorsCodesById[answer.errorCode] ?? `error ${answer.errorCode}`)
      // A duplicate was stored by an earlier try, so long ago that the broker does not know where.
      if (id === 'NONE' || id === 'DUPLICATE_SEQUENCE_NUMBER') {
        const base = id === 'NONE' ? Number(answer!.baseOffset) : -1
        lane.sequence = (lane.sequence + lane.batch.length) % 2 ** 31
        for (const [i, { done, place }] of lane.take().entries())
          done({ ok: true, partition: lane.partition, offset: base < 0 ? -1 : base + i }, place)
      } else this.#denied(lane, id, answer?.errorMessage ?? undefined)
    }
  }

  // ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The broker's own no. */
  #denied(lane: Lane, id: string, text: string | undefined): void {
    const error = apiFailure(id, text, `topic '${lane.topic}'`)
    if (mayBeStored.has(id)) lane.doubtful = true
    if (outOfStep.has(id)) {
      this.#identity = undefined
      // Numbered anew it goes again; where it went out before, it may be there.
      if (lane.doubtful) this.#refuse(lane, error)
      else this.#again(lane)
    } else if (error.code === 'message_too_large' && lane.batch.length > 1) lane.split()
    else if (error.code === 'engine_unavailable' || error.code === 'not_found') this.#failed(lane, error)
    else this.#refuse(lane, error)
  }

  #failed(lane: Lane, thrown: unknown): void {
    const error = kafkaError(thrown, `topic '${lane.topic}'`)
    lane.stale = true
    if (isTransient(thrown) || error.code === 'not_found') this.#again(lane)
    else this.#refuse(lane, error)
  }

  #again(lane: Lane): void {
    const now = performance.now()
    if (lane.deadline <= now) {
      const error = new BusError('engine_unavailable', `topic '${lane.topic}': the broker did not take it in time`)
      this.#refuse(lane, error, lane.isQueueOverdue(now))
    }
    if (!lane.empty) lane.later(now)
  }

  /**
   * Of what went out and was not answered nobody knows: the next batch is not to take its number, so it is counted anew. What is
   * told to go again goes behind what is queued: that goes again with it, or it would pass.
   */
  #refuse(lane: Lane, error: BusError, queued = false): void {
    const { doubtful } = lane
    if (doubtful) this.#identity = undefined
    const told = doubtful ? new BusError('publish_unknown', `it was sent and not answered: ${error.message}`, { cause: error }) : error
    for (const { done, place } of lane.take()) done({ ok: false, error: told }, place)
    if (queued || told.code === 'engine_unavailable') for (const { done, place } of lane.queue.splice(0)) done({ ok: false, error }, place)
  }

  #who(): Promise<Identity> {
    this.#identity ??= this.#cluster
      .any()
      .then((connection) => this.#cluster.ask(connection, 'InitProducerId', null, 0))
      .then(({ producerId, producerEpoch }) => ({ producerId, producerEpoch }))
      .catch((error) => {
        this.#identity = undefined
        throw error
      })
    return this.#identity
  }
}

/** Gives the batch its number. One that may be stored keeps the one it has, and the identity it was counted under. */
function number(lane: Lane, identity: Identity): void {
  if (lane.identity === identity || (lane.doubtful && lane.identity)) return
  lane.identity = identity
  lane.sequence = 0
}
