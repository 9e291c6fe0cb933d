import type { Engine, Outgoing, PublishOutcome, StorageName } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { TopicWatch } from './connection.ts'
import type { LogEngine } from './log.ts'
import { LogGroup } from './log-group.ts'
import { type LogRecord, LogTopic } from './log-topic.ts'
import { foreignMessage, type ModelBroker, maxMessageBytes, reconnectMs, sessionMs } from './model.ts'
import { innermost } from './wrapping.ts'

/** The server side of the log model. */
export class LogBroker implements ModelBroker {
  readonly partitions: number
  readonly dedupeWindowMs: number
  readonly topics = new Map<StorageName, LogTopic>()
  readonly groups = new Map<string, LogGroup>()
  readonly engines = new Set<LogEngine>()
  readonly watch = new TopicWatch()
  readonly #make: (broker: LogBroker) => LogEngine
  readonly #tails = new Set<(record: LogRecord) => void>()
  /** Where each id of the window lies, oldest first. */
  readonly #ids = new Map<string, { readonly position: string; readonly until: number }>()
  readonly #everStored = new Map<StorageName, number>()
  #reachable = true
  #timer: NodeJS.Timeout | undefined

  constructor(partitions: number, dedupeWindowMs: number, make: (broker: LogBroker) => LogEngine) {
    this.partitions = partitions
    this.dedupeWindowMs = dedupeWindowMs
    this.#make = make
  }

  // ── for tests ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async connect(): Promise<Engine> {
    if (!this.#reachable) throw new BusError('engine_unavailable', 'the broker is not reachable; try again')
    const engine = this.#make(this)
    this.engines.add(engine)
    return engine
  }

  restart(): void {
    for (const { connection } of this.engines) connection.cut('the broker restarts')
    this.#expelAll()
    clearTimeout(this.#timer)
    if (this.#reachable) this.#timer = setTimeout(() => this.#reconnect(), reconnectMs).unref()
  }

  crash(engine: Engine): void {
    const gone = innermost(engine) as LogEngine
    if (!this.engines.delete(gone)) return
    gone.die()
    setTimeout(() => {
      for (const member of gone.members) member.group.leave(member)
    }, sessionMs).unref()
  }

  down(): void {
    this.#reachable = false
    for (const { connection } of this.engines) connection.cut('the broker is not reachable')
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#expelAll(), sessionMs).unref()
  }

  up(): void {
    this.#reachable = true
    clearTimeout(this.#timer)
    this.#reconnect()
  }

  foreign(storage: StorageName, name: string, bytes: Uint8Array): void {
    this.store(foreignMessage(storage, name, bytes))
  }

  stored(storage: StorageName): number {
    return this.#everStored.get(storage) ?? 0
  }

  // ── for its engines ───────────────────────────────────────────────────────────────────────────────────────────────

  store(message: Outgoing): PublishOutcome {
    const { storage, body, deliverAt } = message
    if (body.byteLength > maxMessageBytes)
      return { ok: false, error: new BusError('message_too_large', `${body.byteLength} bytes; log-model takes ${maxMessageBytes}`) }
    if (deliverAt !== undefined)
      return { ok: false, error: new BusError('unsupported', 'log-model keeps no delay; schedule through the ledger') }
    const known = this.#known(message)
    if (known !== undefined) return { ok: true, position: known, duplicate: true }
    const record = this.topic(storage).append(message)
    const position = `${record.partition}:${record.offset}`
    if (this.dedupeWindowMs > 0) this.#ids.set(`${storage}/${message.id}`, { position, until: Date.now() + this.dedupeWindowMs })
    this.#everStored.set(storage, this.stored(storage) + 1)
    for (const tail of this.#tails) tail(record)
    this.#wake(storage)
    return { ok: true, position, duplicate: false }
  }

  #known({ storage, id }: Outgoing): string | undefined {
    for (const [key, { until }] of this.#ids) {
      if (until > Date.now()) break
      this.#ids.delete(key)
    }
    return this.#ids.get(`${storage}/${id}`)?.position
  }

  /** As brokers with topics made on first use do. */
  topic(storage: StorageName): LogTopic {
    let topic = this.topics.get(storage)
    if (!topic) {
      topic = new LogTopic(storage, this.partitions)
      this.topics.set(storage, topic)
      this.watch.appeared(storage)
      // Those that read a topic of this name, deleted since, read the new one.
      for (const group of this.groups.values()) if (group.readers(storage).length > 0) group.rebalance()
    }
    return topic
  }

  /** @throws BusError `not_found` */
  existing(storage: StorageName): LogTopic {
    const topic = this.topics.get(storage)
    if (!topic) throw new BusError('not_found', `no topic '${storage}'`)
    return topic
  }

  group(name: string): LogGroup {
    let group = this.groups.get(name)
    if (!group) {
      group = new LogGroup(name, (storage) => this.topic(storage))
      this.groups.set(name, group)
    }
    return group
  }

  tail(listener: (record: LogRecord) => void): () => void {
    this.#tails.add(listener)
    return () => this.#tails.delete(listener)
  }

  #wake(storage: StorageName): void {
    for (const group of this.groups.values()) for (const member of group.members) if (member.sources.has(storage)) member.wake()
  }

  #expelAll(): void {
    for (const group of this.groups.values()) group.expelAll()
  }

  #reconnect(): void {
    for (const engine of [...this.engines]) {
      engine.connection.heal()
      engine.rejoin()
    }
  }
}
