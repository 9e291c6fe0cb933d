import type {
  Delivery,
  DeliverySink,
  EngineSubscription,
  Settlement,
  SettleResult,
  Source,
  SubscriptionSpec,
} from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { type Connection, Credit } from './connection.ts'
import type { QueueBroker } from './queue-broker.ts'
import type { Channel, Flight } from './queue-channel.ts'

/** A broker that pushes is told a number and has sent more by the time it hears another. */
const overPush = 2
export const maxDelayMs = 3_600_000

interface Pushed {
  readonly channel: Channel
  readonly flight: Flight
}

/** One member of a group, as its own process sees it: a buffer in front of the sink, and what the sink has. */
export class QueueMember implements EngineSubscription {
  readonly leaseMs: number
  readonly sources: Source[] = []
  readonly group: string
  readonly #sink: DeliverySink
  readonly #broker: QueueBroker
  readonly #connection: Connection
  readonly #credit = new Credit()
  readonly #buffer = new Map<Flight, Pushed>()
  readonly #delivered = new Map<Flight, Delivery>()
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #scheduled: NodeJS.Immediate | undefined

  constructor(spec: SubscriptionSpec, sink: DeliverySink, broker: QueueBroker, connection: Connection) {
    this.leaseMs = spec.leaseMs
    this.group = spec.group
    this.#sink = sink
    this.#broker = broker
    this.#connection = connection
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#credit.add(messages, bytes)
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.closed) return batch.map(() => 'lost')
    this.#connection.check()
    await new Promise((resolve) => setImmediate(resolve))
    if (this.closed) return batch.map(() => 'lost')
    this.#connection.check() // cut on the way there: nothing was applied
    return batch.map((settlement) => this.#apply(settlement))
  }

  async add(source: Source): Promise<void> {
    this.#connection.check()
    if (this.closed) throw new BusError('closed', 'the subscription is closed')
    this.sources.push(source)
    this.join(source)
  }

  async stop(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'stopped'
    for (const { channel, flight } of [...this.#buffer.values()]) {
      this.#buffer.delete(flight)
      channel.requeue(flight, 0)
    }
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.end()
    for (const channel of this.#channels()) channel.drop(this)
  }

  // ── from the broker ───────────────────────────────────────────────────────────────────────────────────────────────

  join(source: Source): void {
    const channel = this.#broker.channel(source.storage, this.group, source.from)
    if (!channel.members.includes(this)) channel.members.push(this)
    this.#wake()
  }

  /** How many more the broker may push. */
  get room(): number {
    const asked = this.#state === 'open' && this.#connection.open && this.#credit.messages > 0 ? this.#credit.messages + overPush : 0
    return asked - this.#buffer.size
  }

  receive(channel: Channel, flight: Flight): void {
    this.#buffer.set(flight, { channel, flight })
    this.#wake()
  }

  expired(flight: Flight, reason = 'the lease ran out'): void {
    this.#buffer.delete(flight)
    const delivery = this.#delivered.get(flight)
    this.#delivered.delete(flight)
    if (delivery && !this.closed) this.#sink.lost([delivery], reason)
  }

  /** The connection broke: the broker has put everything back already. */
  cut(): void {
    if (this.closed) return
    for (const channel of this.#channels()) channel.drop(this)
    this.#buffer.clear()
    const lost = [...this.#delivered.values()]
    this.#delivered.clear()
    if (lost.length > 0) this.#sink.lost(lost, 'the connection broke')
  }

  /** The broker gave up on the silent connection; what it had comes back as the leases run out. */
  leave(): void {
    for (const { members } of this.#channels()) if (members.includes(this)) members.splice(members.indexOf(this), 1)
  }

  /** No more calls into the sink, from anywhere. */
  end(): void {
    this.#state = 'closed'
    clearImmediate(this.#scheduled)
  }

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #channels(): Channel[] {
    return this.sources.flatMap(({ storage }) => this.#broker.topics.get(storage)?.channels.get(this.group) ?? [])
  }

  #wake(): void {
    if (this.#state === 'open') this.#scheduled ??= setImmediate(this.#run)
  }

  #run = (): void => {
    this.#scheduled = undefined
    if (this.#state !== 'open' || !this.#connection.open) return
    for (const channel of this.#channels()) channel.push()
    const batch: Delivery[] = []
    for (const [flight, { channel }] of this.#buffer) {
      if (!this.#credit.take(flight.entry.message.body.byteLength)) continue
      this.#buffer.delete(flight)
      channel.touch(flight, this.leaseMs)
      const delivery = toDelivery(channel.storage, flight)
      this.#delivered.set(flight, delivery)
      batch.push(delivery)
    }
    if (batch.length > 0) this.#sink.deliver(batch)
  }

  #apply(settlement: Settlement): SettleResult {
    const { delivery } = settlement
    const channel = this.#broker.topics.get(delivery.storage)?.channels.get(this.group)
    const flight = channel?.find(this, delivery.id, delivery.fence)
    if (!channel || !flight) return 'lost'
    if (settlement.kind === 'extend') {
      channel.touch(flight, settlement.leaseMs)
      return 'confirmed'
    }
    this.#delivered.delete(flight)
    if (settlement.kind === 'ack') channel.finish(flight)
    else channel.requeue(flight, Math.min(maxDelayMs, settlement.delayMs))
    return 'confirmed'
  }
}

// The wire has no place for a name, a key or headers, and knows its own id only.
function toDelivery(storage: string, { entry: { message, attempts }, fence }: Flight): Delivery {
  const { id, body, at } = message
  return {
    storage,
    name: storage,
    id,
    key: undefined,
    headers: undefined,
    body: new Uint8Array(body),
    at,
    position: id,
    redelivered: attempts > 1,
    fence,
    scope: undefined,
  }
}
