import type {
  Delivery,
  DeliverySink,
  Engine,
  EngineSubscription,
  Outgoing,
  Settlement,
  SettleResult,
  Source,
  SubscriptionSpec,
} from '../engines/engine.ts'
import { newId } from '../message/id.ts'

export type SeatOptions = Partial<SubscriptionSpec> & Partial<Pick<Source, 'filter' | 'from'>>

/** A member of a group that a case drives by hand, without the core: it sees what the engine itself does. */
export class Seat implements DeliverySink {
  readonly deliveries: Delivery[] = []
  readonly warnings: string[] = []
  /** Those that the engine said are somebody else's by now. */
  readonly lostOnes = new Set<Delivery>()
  #subscription!: EngineSubscription

  static async take(engine: Engine, storage: string, { group = 'g', filter, from = 'earliest', ...rest }: SeatOptions = {}): Promise<Seat> {
    const seat = new Seat()
    const spec: SubscriptionSpec = {
      group,
      sources: [{ storage, filter, lanes: storage, from }],
      order: 'none',
      orderScope: 'group',
      leaseMs: 30_000,
      member: `seat-${newId().slice(-12)}`,
      ...rest,
    }
    seat.#subscription = await engine.subscribe(spec, seat)
    return seat
  }

  deliver(batch: readonly Delivery[]): void {
    this.deliveries.push(...batch)
  }

  lost(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.lostOnes.add(delivery)
  }

  assigned(): void {}

  leaving(): void {}

  warned(text: string): void {
    this.warnings.push(text)
  }

  revoked(scope: string): void {
    for (const delivery of this.deliveries) if (delivery.scope === scope) this.lostOnes.add(delivery)
  }

  /** The bodies as text: what a message is known by here, as not every wire has a place for an id. */
  get texts(): string[] {
    return this.deliveries.map(textOf)
  }

  grant(messages: number, bytes = 2 ** 26): void {
    this.#subscription.grant(messages, bytes)
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    return this.#subscription.settle(batch)
  }

  ack(...deliveries: readonly Delivery[]): Promise<readonly SettleResult[]> {
    return this.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })))
  }

  release(delivery: Delivery, delayMs: number): Promise<readonly SettleResult[]> {
    return this.settle([{ kind: 'release', delivery, delayMs }])
  }

  extend(delivery: Delivery, leaseMs: number): Promise<readonly SettleResult[]> {
    return this.settle([{ kind: 'extend', delivery, leaseMs }])
  }

  add(source: Source): Promise<void> {
    return this.#subscription.add(source)
  }

  stop(): Promise<void> {
    return this.#subscription.stop()
  }

  close(): Promise<void> {
    return this.#subscription.close()
  }
}

export function textOf({ body }: { readonly body: Uint8Array }): string {
  return Buffer.from(body).toString()
}

/** A message as the core would hand it to an engine. */
export function outgoing(storage: string, text: string, changes: Partial<Outgoing> = {}): Outgoing {
  const at = Date.now()
  return {
    storage,
    name: storage,
    id: newId(at),
    key: undefined,
    headers: undefined,
    body: Buffer.from(text),
    at,
    deliverAt: undefined,
    ...changes,
  }
}
