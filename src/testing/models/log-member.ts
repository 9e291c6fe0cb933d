import type {
  Delivery,
  DeliverySink,
  EngineSubscription,
  Settlement,
  SettleResult,
  Source,
  StorageName,
  SubscriptionSpec,
} from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { matcher } from '../../topic/pattern.ts'
import { type Connection, Credit } from './connection.ts'
import type { LogGroup } from './log-group.ts'
import { Owned } from './log-owned.ts'
import { type LogRecord, type Partition, stored } from './log-topic.ts'

const mostAtOnce = 100
/** Longer timeouts overflow into 1 ms. */
const longestTimerMs = 2 ** 31 - 1

/** One member of a group, as its own process sees it. */
export class LogMember implements EngineSubscription {
  readonly sources = new Map<StorageName, Source>()
  readonly owned = new Map<string, Owned>()
  readonly wholeTopic: boolean
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #group: LogGroup
  readonly #connection: Connection
  readonly #credit = new Credit()
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #news: (() => void)[] = []
  #scheduled: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(spec: SubscriptionSpec, sink: DeliverySink, group: LogGroup, connection: Connection) {
    this.#spec = spec
    this.#sink = sink
    this.#group = group
    this.#connection = connection
    this.wholeTopic = spec.order === 'topic' && spec.orderScope === 'group'
    for (const source of spec.sources) this.sources.set(source.storage, source)
  }

  get group(): LogGroup {
    return this.#group
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#credit.add(messages, bytes)
    this.wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.closed) return batch.map(() => 'lost')
    this.#connection.check()
    await new Promise((resolve) => setImmediate(resolve))
    if (this.closed) return batch.map(() => 'lost')
    this.#connection.check() // cut on the way there: nothing was applied
    const results = batch.map((settlement) => this.#apply(settlement))
    for (const owned of this.owned.values()) this.#group.commit(this, owned)
    this.wake()
    return results
  }

  async add(source: Source): Promise<void> {
    this.#connection.check()
    if (this.closed) throw new BusError('closed', 'the subscription is closed')
    this.#group.admit(source)
    this.sources.set(source.storage, source)
    this.#group.rebalance()
  }

  /** The partitions stay until close: what is in hand can still be committed. */
  async stop(): Promise<void> {
    if (this.#state === 'open') this.#state = 'stopped'
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.end()
    this.#group.leave(this)
  }

  // ── from the broker ───────────────────────────────────────────────────────────────────────────────────────────────

  assign(scope: string, storage: StorageName, epoch: number, partition: Partition, from: number): void {
    const { filter } = this.sources.get(storage)!
    this.owned.set(scope, new Owned(scope, epoch, partition, from, matcher(filter ?? '>'), this.#laneOf))
    this.#tell(() => this.#sink.assigned(scope, epoch))
  }

  revoke(scope: string, epoch: number): void {
    this.owned.delete(scope)
    this.#tell(() => this.#sink.revoked(scope, epoch))
  }

  wake(): void {
    if (!this.closed) this.#scheduled ??= setImmediate(this.#run)
  }

  /** No more calls into the sink, from anywhere. */
  end(): void {
    this.#state = 'closed'
    this.#news = []
    clearTimeout(this.#timer)
    clearImmediate(this.#scheduled)
  }

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #tell(news: () => void): void {
    this.#news.push(news)
    this.wake()
  }

  // News and deliveries take one way, so that what comes under an epoch stands between its assigned and its revoked.
  #run = (): void => {
    this.#scheduled = undefined
    for (const news of this.#news.splice(0)) news()
    if (this.#state !== 'open' || !this.#connection.open) return
    const now = Date.now()
    const batch = this.#fetch(now)
    for (const owned of this.owned.values()) this.#group.commit(this, owned) // past what the filter left out
    if (batch.length > 0) this.#sink.deliver(batch)
    if (batch.length >= mostAtOnce) this.wake()
    else this.#wakeWhenDue(now)
  }

  #fetch(now: number): Delivery[] {
    const batch: Delivery[] = []
    for (let more = true; more && batch.length < mostAtOnce; ) {
      more = false
      for (const owned of this.owned.values()) {
        const record = owned.next(now)
        if (!record || !this.#credit.take(record.body.byteLength)) continue
        owned.take(record)
        const delivery = {
          ...stored(record, `${record.partition}:${record.offset}`),
          redelivered: false,
          fence: owned.epoch,
          scope: owned.scope,
        }
        owned.inHand.set(record.offset, delivery)
        batch.push(delivery)
        more = true
      }
    }
    return batch
  }

  /** `looked`: the time of the last look. What came due since then was not seen by it. */
  #wakeWhenDue(looked: number): void {
    clearTimeout(this.#timer)
    let due = Infinity
    for (const owned of this.owned.values()) due = Math.min(due, owned.dueAt())
    // One that was due by then waits for credit, not for time.
    if (due === Infinity || due <= looked) return
    this.#timer = setTimeout(() => this.wake(), Math.min(Math.max(0, due - Date.now()) + 1, longestTimerMs))
  }

  #apply(settlement: Settlement): SettleResult {
    const { delivery } = settlement
    const owned = this.owned.get(delivery.scope ?? '')
    if (!owned || owned.epoch !== delivery.fence) return 'lost'
    const offset = Number(delivery.position.split(':')[1])
    if (!owned.inHand.has(offset)) return settlement.kind === 'ack' && owned.knows(offset) ? 'confirmed' : 'lost'
    if (settlement.kind === 'ack') owned.ack(offset)
    else if (settlement.kind === 'release') owned.release(offset, Date.now() + settlement.delayMs)
    return 'confirmed'
  }

  #laneOf = (record: LogRecord): string | undefined => {
    if (this.#spec.order === 'topic') return ''
    return this.#spec.order === 'key' ? record.key : undefined
  }
}
