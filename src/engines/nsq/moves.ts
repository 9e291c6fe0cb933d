import { BusError } from '../../errors.ts'
import type { NsqDelivery } from './delivery.ts'
import { fin, req } from './protocol.ts'
import type { Session } from './session.ts'

/** How long nobody else takes a copy whose holder has not met it yet; of the lease at least two. */
const leastHoldMs = 10_000
/** Whoever meets another's copy gives it back for so long: until nsqd looks again. */
const notMineMs = 100

/** What its holder waits for. */
interface Awaited {
  readonly delivery: NsqDelivery
  readonly until: number
  /** What was said of it meanwhile, for the copy: it is done with, or to come again at that time. */
  outcome: 'open' | 'drop' | { readonly againAt: number }
}

export interface MoveParts {
  readonly member: string
  readonly leaseMs: number
  /** The private topic of the group for this storage, where this member reads it. */
  readonly privateOf: (storage: string) => string | undefined
  readonly forward: (storage: string, body: Uint8Array, delayMs: number) => Promise<void>
}

/**
 * Messages that cannot stay where they are go on in the private topic of their group, which only members with the bus read.
 * A job past nsqd's longest lease: its copy names the member that works on it, which takes it up again under a lease of its
 * own; others give it back until a time has passed. A retry on a topic that Go services read: they give up, and say so to
 * nobody, on what has come five times.
 */
export class Moves {
  readonly #parts: MoveParts
  readonly #awaited = new Map<string, Awaited>()

  constructor(parts: MoveParts) {
    this.#parts = parts
  }

  /** Copies that this member has to meet, whatever credit it has. */
  get awaited(): number {
    return this.#awaited.size
  }

  can({ storage }: NsqDelivery): boolean {
    return this.#parts.privateOf(storage) !== undefined
  }

  /** For a job that goes on. Resolves once the copy stands in for the original, which then is to be finished; false where it does not. */
  async hold(delivery: NsqDelivery, now: number): Promise<boolean> {
    const { member, leaseMs, forward, privateOf } = this.#parts
    const holdMs = Math.max(leastHoldMs, 2 * leaseMs)
    const awaited: Awaited = { delivery, until: now + holdMs, outcome: 'open' }
    delivery.moving = 'sending'
    this.#awaited.set(delivery.id, awaited)
    try {
      const storage = privateOf(delivery.storage)!
      await forward(storage, delivery.copyFor(storage, { member, untilMs: Date.now() + holdMs }), 0)
    } catch (error) {
      // It may be there all the same; then it is one too many.
      awaited.outcome = 'drop'
      delivery.moving = error instanceof BusError && error.code === 'message_too_large' ? 'never' : 'no'
      return false
    }
    // The copy may have been faster than its confirmation.
    if (delivery.moving !== 'sending' || awaited.outcome !== 'open') return true
    delivery.moving = 'away'
    delivery.until = awaited.until
    return true
  }

  /** To be tried again after the delay, by members with the bus alone. @throws BusError */
  async retry(delivery: NsqDelivery, delayMs: number): Promise<void> {
    const storage = this.#parts.privateOf(delivery.storage)!
    await this.#parts.forward(storage, delivery.copyFor(storage, undefined), delayMs)
  }

  /** Settled while its copy was under way: what is said of it holds for the copy. */
  settled(delivery: NsqDelivery, outcome: 'drop' | { readonly againAt: number }): void {
    const awaited = this.#awaited.get(delivery.id)
    if (awaited?.delivery === delivery) awaited.outcome = outcome
  }

  /** Whether the copy that came is dealt with. `mine`: it stands for a delivery in hand. */
  meet(copy: NsqDelivery, session: Session, now: number): 'new' | 'done' | { readonly mine: NsqDelivery } {
    const holder = copy.moved?.holder
    if (!holder) return 'new'
    if (holder.member !== this.#parts.member) {
      if (holder.untilMs <= Date.now()) return 'new'
      session.connection.send(req(copy.wireId, notMineMs))
      return 'done'
    }
    const awaited = this.#awaited.get(copy.id)
    if (!awaited) return 'new'
    this.#awaited.delete(copy.id)
    const { outcome, delivery } = awaited
    if (outcome === 'drop') session.connection.send(fin(copy.wireId))
    else if (outcome !== 'open') session.connection.send(req(copy.wireId, Math.max(0, Math.ceil(outcome.againAt - now))))
    else return { mine: delivery }
    return 'done'
  }

  /** Forgets what others may take by now. */
  expire(now: number): void {
    for (const [id, { until }] of this.#awaited) if (until <= now) this.#awaited.delete(id)
  }
}
