import type {
  Capabilities,
  DeliverySink,
  Engine,
  EngineAdmin,
  EngineHealth,
  EngineSubscription,
  Outgoing,
  Page,
  PublishOutcome,
  SubscriptionSpec,
} from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { Connection } from './connection.ts'
import { type ModelBroker, maxMessageBytes } from './model.ts'
import { queueAdmin } from './queue-admin.ts'
import { QueueBroker } from './queue-broker.ts'
import { maxDelayMs, QueueMember } from './queue-member.ts'

/** A broker like NSQ: channels with acks of single messages and capped leases; no history, no headers, no order, no filter. */
export function queueModel({ maxLeaseMs = 15_000 }: { maxLeaseMs?: number } = {}): ModelBroker {
  return new QueueBroker(maxLeaseMs, (broker) => new QueueEngine(broker))
}

export class QueueEngine implements Engine {
  readonly name = 'queue-model'
  readonly capabilities: Capabilities
  readonly admin: EngineAdmin
  readonly connection: Connection
  readonly members = new Set<QueueMember>()
  readonly #broker: QueueBroker
  #closing: Promise<void> | undefined

  constructor(broker: QueueBroker) {
    this.#broker = broker
    this.connection = new Connection((message) => broker.store(message))
    this.admin = queueAdmin(broker, this.connection)
    this.capabilities = {
      durability: 'memory',
      ordering: 'none',
      orderedPipelining: false,
      dedupeWindowMs: 0,
      delayMaxMs: maxDelayMs,
      lease: { maxMs: broker.maxLeaseMs },
      settle: 'message',
      redelivered: true,
      filter: 'client',
      history: false,
      purgeBefore: false,
      headers: false,
      maxMessageBytes,
      ledger: 'given',
    }
  }

  publish(batch: readonly Outgoing[], signal?: AbortSignal): Promise<PublishOutcome[]> {
    return this.connection.publish(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.connection.check()
    if (spec.order !== 'none' && spec.orderScope === 'group') {
      throw new BusError(
        'unsupported',
        `queue-model keeps no order across members: use orderScope: 'process' with one member, order: 'none', or an engine with partitions`,
      )
    }
    const member = new QueueMember(spec, sink, this.#broker, this.connection)
    this.members.add(member)
    for (const source of spec.sources) await member.add(source)
    return member
  }

  read(): Promise<Page> {
    return Promise.reject(
      new BusError(
        'unsupported',
        'queue-model has no history: a message is gone once its groups have it; subscribe with a group of its own',
      ),
    )
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    return this.connection.onHealth(listener)
  }

  rejoin(): void {
    for (const member of this.members) {
      if (member.closed) this.members.delete(member)
      else for (const source of member.sources) member.join(source)
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
}
