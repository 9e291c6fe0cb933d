import { BusError } from '../../errors.ts'
import { longestTimerMs } from '../../message/duration.ts'
import type { DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import { Hand } from '../hand.ts'
import { ackOf } from './acknowledging.ts'
import type { Cluster } from './cluster.ts'
import type { Consumer, ConsumerOwner } from './consumer.ts'
import { Consumers } from './consumers.ts'
import { Entry, PulsarDelivery } from './delivery.ts'
import { Finished, keyOf } from './finished.ts'
import type { Come } from './message.ts'
import { type MessageId, wireId } from './protocol.ts'
import type { Topics } from './topics.ts'
import { Waiting } from './waiting.ts'

/** What came beyond the credit goes back after this time, for others to have it. */
const keepUnusedMs = 1000
const mostAhead = 1000
const lookMs = 100

export interface SubscriptionParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly onClose: () => void
}

/** A member of a group: what its consumers bring goes to the core as far as there is credit; the rest waits here. */
export class PulsarSubscription implements EngineSubscription, ConsumerOwner {
  readonly group: string
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #consumers: Consumers
  readonly #hand = new Hand<PulsarDelivery>()
  /** By topic and place: what is not done with. */
  readonly #entries = new Map<string, Entry>()
  readonly #finished = new Finished()
  readonly #waiting: Waiting
  #buffer: PulsarDelivery[] = []
  #messages = 0
  #bytes = 0
  #out = 0
  #scheduled = false
  #due: NodeJS.Timeout | undefined
  readonly #timer: NodeJS.Timeout
  #lookedAt = performance.now()
  #stopped = false
  #closed: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.group = spec.group
    this.#parts = parts
    this.#spec = spec
    this.#sink = sink
    this.#consumers = new Consumers({ cluster: parts.cluster, topics: parts.topics, spec, owner: this })
    this.#waiting = new Waiting(({ key }) => (spec.order === 'key' ? key : spec.order === 'topic' ? '' : undefined))
    this.#timer = setInterval(this.#look, lookMs).unref()
  }

  get trouble(): string | undefined {
    return this.#consumers.trouble
  }

  async start(): Promise<void> {
    for (const source of this.#spec.sources) await this.add(source)
  }

  async add(source: Source): Promise<void> {
    if (this.#stopped) throw new BusError('closed', 'the subscription is closed')
    await this.#consumers.add(source)
    this.#steer()
  }

  // ── from the broker to the core ───────────────────────────────────────────────────────────────────────────────────

  joined(consumer: Consumer): void {
    const now = performance.now()
    let adrift = 0
    for (const entry of this.#entries.values()) {
      if (entry.consumer !== consumer || entry.adriftSince === undefined) continue
      entry.adriftSince = now
      adrift += entry.count
    }
    // Beside the credit: what is in hand comes again, and without a permit it could not.
    consumer.allow(adrift)
    this.#steer()
  }

  /** What is in hand goes on: most of it comes again to where it was. What waits here comes too, or to others. */
  left(consumer: Consumer): void {
    const now = performance.now()
    for (const entry of this.#entries.values()) if (entry.consumer === consumer) entry.adriftSince = now
    this.#dropUnused(consumer)
  }

  superseded(consumer: Consumer): void {
    this.#dropUnused(consumer)
    this.#lose(
      this.#hand.all().filter((one) => one.entry.consumer === consumer && !one.entry.settled[one.batch]),
      'another member has the topic',
    )
    this.#steer()
  }

  /** What no handler has begun. */
  #dropUnused(consumer: Consumer): void {
    const here = (one: PulsarDelivery): boolean => one.entry.consumer === consumer
    const dropped = [...this.#buffer.filter(here), ...this.#waiting.drop(here)]
    this.#buffer = this.#buffer.filter((one) => !here(one))
    for (const one of dropped) this.#forget(one)
    // Whoever gets it next has all of it: what is settled within it the broker knows.
    for (const { entry } of dropped) if (!this.#hand.find((one) => one.entry === entry)) this.#drop(entry)
  }

  #drop(entry: Entry): void {
    this.#entries.delete(keyOf(entry.consumer.spec.topic, entry.id))
  }

  troubled(consumer: Consumer, text: string | undefined): void {
    this.#consumers.troubled(consumer, text)
  }

  came(consumer: Consumer, id: MessageId, count: number, messages: readonly Come[], redelivered: number): void {
    // Whatever becomes of it: for what the core does not get the broker may send more.
    this.#wake()
    const key = keyOf(consumer.spec.topic, id)
    if (this.#finished.has(key)) {
      consumer.tellAck([wireId(id)])
      consumer.spare += messages.length
      return
    }
    const known = this.#entries.get(key)
    if (!known && this.#stopped) {
      consumer.redeliver([id])
      return
    }
    const entry = known ?? new Entry(consumer, id, count)
    // What runs is ours again, and had permits of its own to come by.
    const drifted = entry.adriftSince !== undefined
    entry.adriftSince = undefined
    if (this.#stopped) return
    if (!known) {
      const here = new Set(messages.map((one) => Math.max(0, one.id.batch)))
      for (let i = 0; i < count; i++) if (!here.has(i)) entry.settle(i)
      if (entry.left === 0) {
        consumer.tellAck([ackOf(entry)])
        return
      }
      this.#entries.set(key, entry)
    }
    const now = performance.now()
    const inHand = known
      ? new Set(
          this.#hand
            .all()
            .filter((one) => one.entry === entry)
            .map(({ batch }) => batch),
        )
      : undefined
    const clock = Date.now()
    let unused = 0
    for (const { id: place, stored, due } of messages) {
      const batch = Math.max(0, place.batch)
      if (entry.settled[batch] || inHand?.has(batch)) {
        unused++
        continue
      }
      const before = redelivered > 0 || known !== undefined
      const delivery = new PulsarDelivery(stored, entry, batch, before, this.#spec.leaseMs, now)
      if (due > clock) {
        this.#waiting.delay(delivery, due)
        if (!this.#waiting.full) unused++
        continue
      }
      this.#hand.add(delivery)
      this.#buffer.push(delivery)
    }
    if (!drifted) consumer.spare += unused
  }

  #wake(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    // Once for all that came in one read of the socket.
    queueMicrotask(this.#handOn)
  }

  #handOn = (): void => {
    this.#scheduled = false
    if (this.#stopped) return
    const now = Date.now()
    const batch = this.#waiting.take(now, this.#messages)
    for (const delivery of batch) this.#hand.add(delivery)
    let taken = 0
    const room = (): boolean => this.#messages - batch.length > 0 && (this.#bytes - taken > 0 || this.#out + batch.length === 0)
    for (const { body } of batch) taken += body.byteLength
    if (this.#buffer.length > 0 && room()) {
      const left: PulsarDelivery[] = []
      for (let i = 0; i < this.#buffer.length; i++) {
        const delivery = this.#buffer[i]!
        if (!room()) {
          left.push(...this.#buffer.slice(i))
          break
        }
        if (this.#waiting.holds(delivery)) left.push(delivery)
        else {
          batch.push(delivery)
          taken += delivery.body.byteLength
        }
      }
      this.#buffer = left
    }
    this.#wakeWhenDue(now)
    this.#messages -= batch.length
    this.#bytes -= taken
    this.#out += batch.length
    this.#steer()
    if (batch.length === 0) return
    const until = performance.now() + this.#spec.leaseMs
    for (const delivery of batch) {
      delivery.handed = true
      delivery.until = until
    }
    this.#sink.deliver(batch)
  }

  #wakeWhenDue(now: number): void {
    clearTimeout(this.#due)
    const { dueAt } = this.#waiting
    if (dueAt === Number.POSITIVE_INFINITY || this.#messages <= 0) return
    this.#due = setTimeout(() => this.#wake(), Math.min(Math.max(1, dueAt - now), longestTimerMs))
  }

  grant(messages: number, bytes: number): void {
    if (this.#stopped) return
    this.#messages += messages
    this.#bytes += bytes
    this.#wake()
    this.#steer()
  }

  /** Asks for what there is room for. What comes unasked waits here. */
  #steer(): void {
    if (this.#stopped) return
    const open = !this.#waiting.full && (this.#bytes > 0 || this.#out === 0)
    this.#consumers.allow(open ? Math.min(mostAhead, this.#messages - this.#buffer.length) : 0)
  }

  // ── from the core to the broker ───────────────────────────────────────────────────────────────────────────────────

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#closed) return batch.map(() => 'lost')
    const now = performance.now()
    const acks = new Map<Consumer, Set<Entry>>()
    const back = new Map<Consumer, MessageId[]>()
    const results = batch.map((settlement) => this.#settleOne(settlement, now, acks, back))
    for (const [consumer, ids] of back) consumer.redeliver(ids)
    this.#wake()
    if (acks.size === 0) return results
    await Promise.all([...acks].map(([consumer, entries]) => consumer.ack([...entries].map(ackOf))))
    for (const entries of acks.values()) for (const entry of entries) this.#doneWith(entry)
    for (const { kind, delivery } of batch) if (kind === 'ack') this.#forget(delivery as PulsarDelivery)
    this.#steer()
    return results
  }

  #settleOne(settlement: Settlement, now: number, acks: Map<Consumer, Set<Entry>>, back: Map<Consumer, MessageId[]>): SettleResult {
    const delivery = settlement.delivery as PulsarDelivery
    const { entry, batch } = delivery
    if (!this.#hand.has(delivery)) return entry.settled[batch] ? 'confirmed' : 'lost'
    if (settlement.kind === 'extend') {
      delivery.until = now + settlement.leaseMs
      return entry.consumer.open ? 'confirmed' : 'sent'
    }
    if (settlement.kind === 'ack') {
      entry.settle(batch)
      acks.set(entry.consumer, (acks.get(entry.consumer) ?? new Set()).add(entry))
      return 'confirmed'
    }
    this.#forget(delivery)
    const { delayMs } = settlement
    const alone = entry.count === 1
    // Others may have it at once; one that is to wait would come at once too.
    if (alone && (delayMs <= 0 || this.#waiting.size >= mostAhead) && this.#spec.order === 'none') {
      this.#drop(entry)
      listOf(back, entry.consumer).push(entry.id)
    } else if (!this.#stopped) this.#waiting.add(again(delivery, this.#spec.leaseMs, now), Date.now() + delayMs)
    return 'confirmed'
  }

  #doneWith(entry: Entry): void {
    if (entry.left > 0) return
    this.#drop(entry)
    this.#finished.add(keyOf(entry.consumer.spec.topic, entry.id))
  }

  /** Out of our hands. */
  #forget(delivery: PulsarDelivery): void {
    if (!this.#hand.delete(delivery)) return
    if (delivery.handed) this.#out--
  }

  // ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #look = (): void => {
    const now = performance.now()
    const late = now - this.#lookedAt - lookMs
    this.#lookedAt = now
    const { returnMs = 10_000 } = this.#parts.cluster.options
    const lost: PulsarDelivery[] = []
    const unused: PulsarDelivery[] = []
    const ended: PulsarDelivery[] = []
    for (const delivery of this.#hand.all()) {
      // A process that stood still gave nothing away by that: the broker waits for it.
      if (late > lookMs) delivery.until += late
      const { entry } = delivery
      if (entry.settled[delivery.batch]) continue
      if (entry.adriftSince !== undefined && entry.consumer.open && now - entry.adriftSince > returnMs) lost.push(delivery)
      // With order it stays ours while we are connected: given to another, it would be passed by what stands behind it here.
      else if (delivery.handed && delivery.until <= now && this.#spec.order === 'none') ended.push(delivery)
      else if (!delivery.handed && this.#spec.order === 'none' && this.#messages <= 0 && now - delivery.arrivedAt > keepUnusedMs)
        unused.push(delivery)
    }
    if (this.#consumers.open) this.#finished.tick(now)
    this.#lose(lost, 'its consumer was moved, and another member has it')
    this.#giveBack(ended)
    this.#lose(ended, 'its lease ended and another member may have it')
    this.#giveBack(unused)
    this.#buffer = this.#buffer.filter((delivery) => this.#hand.has(delivery))
    if (!this.#stopped) this.#consumers.look(now)
  }

  #lose(lost: readonly PulsarDelivery[], why: string): void {
    for (const delivery of lost) {
      this.#forget(delivery)
      const { entry } = delivery
      if (!this.#hand.find((one) => one.entry === entry)) this.#drop(entry)
    }
    const told = lost.filter(({ handed }) => handed)
    if (told.length > 0) this.#sink.lost(told, why)
  }

  /** The broker gives whole entries again; of one with others in hand only once those are done with. */
  #giveBack(deliveries: readonly PulsarDelivery[]): void {
    const back = new Map<Consumer, MessageId[]>()
    for (const delivery of deliveries) {
      const { entry } = delivery
      this.#forget(delivery)
      if (this.#hand.find((one) => one.entry === entry)) {
        this.#waiting.add(again(delivery, this.#spec.leaseMs, performance.now()), Date.now())
        continue
      }
      this.#drop(entry)
      listOf(back, entry.consumer).push(entry.id)
    }
    for (const [consumer, ids] of back) consumer.redeliver(ids)
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    clearTimeout(this.#due)
    const unused = [...this.#hand.all().filter(({ handed }) => !handed), ...this.#waiting.drop(() => true)]
    this.#buffer = []
    this.#giveBack(unused)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.stop()
    clearInterval(this.#timer)
    await this.#consumers.close()
    this.#parts.onClose()
  }
}

function again(delivery: PulsarDelivery, leaseMs: number, now: number): PulsarDelivery {
  return new PulsarDelivery(delivery, delivery.entry, delivery.batch, true, leaseMs, now)
}

function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  const list = lists.get(key) ?? []
  lists.set(key, list)
  return list
}
