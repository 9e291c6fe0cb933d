import type { BusError } from '../../errors.ts'
import type { Headers } from '../../message/headers.ts'
import type { Delivery, DeliverySink, EngineSubscription, Settlement, SettleResult, Source, Stored } from '../engine.ts'
import { bodyAt, type Columns, headersAt, nameAt } from './columns.ts'
import type { Link } from './link.ts'
import { settleFields, settleKind } from './protocol.ts'

/** A stored message; positions are made into text only where somebody asks. */
export class EmbeddedStored implements Stored {
  readonly storage: string
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly sequence: number

  constructor(columns: Columns, i: number, storage: string) {
    this.storage = storage
    this.name = nameAt(columns, i, storage)
    this.id = columns.ids[i]!
    this.key = columns.keys?.[i] ?? undefined
    this.headers = headersAt(columns, i)
    this.body = bodyAt(columns, i)
    this.at = columns.at[i]!
    this.sequence = columns.sequences![i]!
  }

  get position(): string {
    return String(this.sequence)
  }
}

class EmbeddedDelivery extends EmbeddedStored implements Delivery {
  readonly redelivered: boolean
  readonly fence: number
  readonly source: number

  constructor(columns: Columns, i: number, storage: string, fence: number, source: number) {
    super(columns, i, storage)
    this.redelivered = columns.redelivered?.[i] === 1
    this.fence = fence
    this.source = source
  }

  get scope(): undefined {
    return undefined
  }
}

/** A subscription on the main thread: rows to deliveries, settlements to rows. */
export class EmbeddedSubscription implements EngineSubscription {
  readonly #id: number
  readonly #link: Link
  readonly #sink: DeliverySink
  readonly #storages: string[]
  readonly #onClose: () => void
  /** What is in hand, by source and sequence: to name what was lost. */
  readonly #hand: Map<number, EmbeddedDelivery>[]
  #stopped: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(id: number, link: Link, sink: DeliverySink, sources: readonly Source[], onClose: () => void) {
    this.#id = id
    this.#link = link
    this.#sink = sink
    this.#storages = sources.map(({ storage }) => storage)
    this.#hand = sources.map(() => new Map())
    this.#onClose = onClose
  }

  take(source: number, fence: number, columns: Columns): void {
    const storage = this.#storages[source]!
    const hand = this.#hand[source]!
    const batch = new Array<EmbeddedDelivery>(columns.count)
    for (let i = 0; i < columns.count; i++) {
      const delivery = new EmbeddedDelivery(columns, i, storage, fence, source)
      hand.set(delivery.sequence, delivery)
      batch[i] = delivery
    }
    this.#sink.deliver(batch)
  }

  lose(source: number, sequences: readonly number[]): void {
    const hand = this.#hand[source]!
    const gone: Delivery[] = []
    for (const sequence of sequences) {
      const delivery = hand.get(sequence)
      if (!delivery) continue
      hand.delete(sequence)
      gone.push(delivery)
    }
    if (gone.length > 0) this.#sink.lost(gone, 'its lease ran out and another member took it')
  }

  grant(messages: number, bytes: number): void {
    if (!this.#stopped) this.#link.grant(this.#id, messages, bytes)
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const count = batch.length
    const rows = new Float64Array(count * settleFields)
    for (let i = 0; i < count; i++) {
      const settlement = batch[i]!
      const delivery = settlement.delivery as EmbeddedDelivery
      const at = i * settleFields
      rows[at] = delivery.source
      rows[at + 1] = settleKind[settlement.kind]
      rows[at + 2] = delivery.sequence
      rows[at + 3] = delivery.fence
      if (settlement.kind === 'release') rows[at + 4] = settlement.delayMs
      else if (settlement.kind === 'extend') rows[at + 4] = settlement.leaseMs
    }
    const { lost } = await this.#link.settle(this.#id, rows)
    const results = new Array<SettleResult>(count).fill('confirmed')
    for (const i of lost) results[i] = 'lost'
    for (let i = 0; i < count; i++)
      if (batch[i]!.kind !== 'extend' || results[i] === 'lost') this.#forget(batch[i]!.delivery as EmbeddedDelivery)
    return results
  }

  #forget(delivery: EmbeddedDelivery): void {
    const hand = this.#hand[delivery.source]!
    // The same message may be here again already, under a new fence.
    if (hand.get(delivery.sequence)?.fence === delivery.fence) hand.delete(delivery.sequence)
  }

  async add(source: Source): Promise<void> {
    // Before the call: deliveries may arrive in the same breath as its answer.
    this.#storages.push(source.storage)
    this.#hand.push(new Map())
    try {
      await this.#link.call('addSource', this.#id, source)
    } catch (error) {
      this.#storages.pop()
      this.#hand.pop()
      throw error
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#link.call('stop', this.#id)
    return this.#stopped
  }

  close(): Promise<void> {
    this.#closed ??= this.stop()
      .then(() => this.#link.call('leave', this.#id))
      .catch((error: BusError) => {
        // A store that was closed has given everything back already.
        if (error.code !== 'closed') throw error
      })
      .finally(this.#onClose)
    return this.#closed
  }
}
