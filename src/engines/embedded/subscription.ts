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

/** What one claim of the store brought, kept until all of it is settled: to name what was lost. */
interface Claim {
  readonly source: number
  readonly fence: number
  readonly deliveries: EmbeddedDelivery[]
  left: number
}

class EmbeddedDelivery extends EmbeddedStored implements Delivery {
  readonly redelivered: boolean
  readonly claim: Claim
  /** Until it is settled or lost. */
  held = true

  constructor(columns: Columns, i: number, storage: string, claim: Claim) {
    super(columns, i, storage)
    this.redelivered = columns.redelivered?.[i] === 1
    this.claim = claim
  }

  get fence(): number {
    return this.claim.fence
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
  // Not a map, nor a set: each time V8 rehashes one, the table it leaves behind keeps its entries alive until the next
  // full collection, 100 MB of them here (measured).
  readonly #claims: Claim[] = []
  trouble: string | undefined
  #stopped: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(id: number, link: Link, sink: DeliverySink, sources: readonly Source[], onClose: () => void) {
    this.#id = id
    this.#link = link
    this.#sink = sink
    this.#storages = sources.map(({ storage }) => storage)
    this.#onClose = onClose
  }

  take(source: number, fence: number, columns: Columns): void {
    const storage = this.#storages[source]!
    const batch = new Array<EmbeddedDelivery>(columns.count)
    const claim: Claim = { source, fence, deliveries: batch, left: columns.count }
    for (let i = 0; i < columns.count; i++) batch[i] = new EmbeddedDelivery(columns, i, storage, claim)
    this.#claims.push(claim)
    this.#sink.deliver(batch)
  }

  lose(source: number, fence: number, sequences: readonly number[]): void {
    const gone: Delivery[] = []
    for (const claim of this.#claims) {
      if (claim.source !== source || claim.fence !== fence) continue
      for (const delivery of claim.deliveries) if (delivery.held && sequences.includes(delivery.sequence)) gone.push(delivery)
    }
    for (const delivery of gone) this.#forget(delivery as EmbeddedDelivery)
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
      rows[at] = delivery.claim.source
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
    if (!delivery.held) return
    delivery.held = false
    if (--delivery.claim.left === 0) this.#claims.splice(this.#claims.indexOf(delivery.claim), 1)
  }

  async add(source: Source): Promise<void> {
    // Before the call: deliveries may arrive in the same breath as its answer.
    this.#storages.push(source.storage)
    try {
      await this.#link.call('addSource', this.#id, source)
    } catch (error) {
      this.#storages.pop()
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
        // A store that was closed has given everything back already; in a corrupt one nothing is given back, and health says so.
        if (error.code !== 'closed' && error.code !== 'store_corrupt') throw error
      })
      .finally(this.#onClose)
    return this.#closed
  }
}
