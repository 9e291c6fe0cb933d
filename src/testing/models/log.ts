import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineAdmin,
  EngineHealth,
  EngineSubscription,
  Live,
  Outgoing,
  Page,
  PublishOutcome,
  ReadFrom,
  StorageName,
  Stored,
  SubscriptionSpec,
} from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { matcher } from '../../topic/pattern.ts'
import { Connection } from './connection.ts'
import { logAdmin } from './log-admin.ts'
import { LogBroker } from './log-broker.ts'
import { LogMember } from './log-member.ts'
import { stored } from './log-topic.ts'
import { type ModelBroker, maxMessageBytes } from './model.ts'

const capabilities: Omit<Capabilities, 'dedupeWindowMs'> = {
  durability: 'memory',
  ordering: 'group',
  orderedPipelining: true,
  delayMaxMs: 0,
  lease: { maxMs: Infinity },
  settle: 'position',
  redelivered: false,
  filter: 'broker',
  history: true,
  purgeBefore: true,
  headers: true,
  maxMessageBytes,
  ledger: 'given',
}

/**
 * A broker like Kafka: partitions, committed offsets, rebalances; no ack of a single message, no delay, no leases.
 * `dedupeWindowMs`: the same id is stored once for so long, as with an idempotent producer that may restart.
 */
export function logModel({ partitions = 4, dedupeWindowMs = 0 }: { partitions?: number; dedupeWindowMs?: number } = {}): ModelBroker {
  return new LogBroker(partitions, dedupeWindowMs, (broker) => new LogEngine(broker))
}

export class LogEngine implements Engine {
  readonly name = 'log-model'
  readonly capabilities: Capabilities
  readonly admin: EngineAdmin
  readonly live: Live
  readonly connection: Connection
  readonly members = new Set<LogMember>()
  readonly #broker: LogBroker
  #closing: Promise<void> | undefined

  constructor(broker: LogBroker) {
    this.#broker = broker
    this.capabilities = { ...capabilities, dedupeWindowMs: broker.dedupeWindowMs }
    this.connection = new Connection((message) => broker.store(message))
    this.admin = logAdmin(broker, this.connection)
    this.live = { subscribe: (pattern, listener) => this.#tail(pattern, listener) }
  }

  publish(batch: readonly Outgoing[], signal?: AbortSignal): Promise<PublishOutcome[]> {
    return this.connection.publish(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.connection.check()
    if (spec.order === 'topic' && spec.orderScope === 'group' && this.#broker.partitions > 1) {
      throw new BusError(
        'unsupported',
        `log-model keeps no order across its ${this.#broker.partitions} partitions: use order 'key', orderScope: 'process' with one member, or one partition`,
      )
    }
    const group = this.#broker.group(spec.group)
    for (const source of spec.sources) group.admit(source)
    const member = new LogMember(spec, sink, group, this.connection)
    this.members.add(member)
    group.join(member)
    return member
  }

  async read(storage: StorageName, after: ReadFrom, limit: number): Promise<Page> {
    this.connection.check()
    return this.#broker.existing(storage).page(after, limit)
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.connection.onHealth(listener)
  }

  /** The broker lost the members of this engine, or never heard of them. */
  rejoin(): void {
    for (const member of this.members) {
      if (member.closed) this.members.delete(member)
      else if (!member.group.members.includes(member)) member.group.join(member)
      else member.wake()
    }
  }

  /** The process is gone: nothing is said to anybody. */
  die(): void {
    this.connection.end()
    for (const member of this.members) member.end()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.connection.ended) return
    await this.connection.idle()
    for (const member of this.members) await member.close()
    this.connection.end()
    this.#broker.engines.delete(this)
  }

  async #tail(pattern: string, listener: (batch: readonly Stored[]) => void): Promise<{ close(): Promise<void> }> {
    this.connection.check()
    const matches = matcher(pattern)
    let batch: Stored[] = []
    const untail = this.#broker.tail((record) => {
      if (!this.connection.open || !matches(record.name)) return
      if (batch.push(stored(record, `${record.partition}:${record.offset}`)) > 1) return
      setImmediate(() => {
        const ready = batch
        batch = []
        if (ready.length > 0) listener(ready)
      })
    })
    return {
      close: async () => {
        untail()
        batch = []
      },
    }
  }
}
