import type { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import type { NsqDelivery } from './delivery.ts'
import { req } from './protocol.ts'
import type { Session } from './session.ts'

/** How long nobody else takes a copy whose holder has not met it yet; of the lease at least two. */
const leastHoldMs = 10_000
/** Whoever meets another's copy gives it back for so long: until nsqd looks again. */
export const notMineMs = 100
/** A copy that is one too many is known for so long. */
const rememberMs = 15 * 60_000

/** What its holder waits for. */
interface Awaited {
  readonly delivery: NsqDelivery
  /** Until when nobody else takes it. */
  readonly until: number
  /** What was said of it meanwhile, for the copy: it is one too many, or to come again at that time. */
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
  /** By the copy's own name: one job may have several on the way, and two jobs one id. */
  readonly #awaited = new Map<string, Awaited>()
  /** Copies that others may have by now, and that are one too many here: until when that is known. */
  readonly #unwanted = new Map<string, number>()
  readonly #onNoneAwaited: (() => void)[] = []

  constructor(parts: MoveParts) {
    this.#parts = parts
  }

  /** Copies that this member has to meet, whatever credit it has. */
  get awaited(): number {
    return this.#awaited.size
  }

  /** Resolves once it has met all its copies, or others may take those that it has not. */
  async met(): Promise<void> {
    while (this.#awaited.size > 0) await new Promise<void>((resolve) => this.#onNoneAwaited.push(resolve))
  }

  can({ storage }: NsqDelivery): boolean {
    return this.#parts.privateOf(storage) !== undefined
  }

  /** For a job that goes on. Resolves once the copy stands in for the original, which then is to be finished: `delivery.moving` tells. */
  async hold(delivery: NsqDelivery, now: number): Promise<void> {
    const { member, leaseMs, forward, privateOf } = this.#parts
    const holdMs = Math.max(leastHoldMs, 2 * leaseMs)
    const copy = newId()
    const awaited: Awaited = { delivery, until: now + holdMs, outcome: 'open' }
    delivery.moving = 'sending'
    delivery.copy = copy
    this.#awaited.set(copy, awaited)
    try {
      const storage = privateOf(delivery.storage)!
      await forward(storage, delivery.copyFor(storage, { member, copy, untilMs: Date.now() + holdMs }), 0)
    } catch (error) {
      // Taken up already: it had come through before its connection ended.
      if (delivery.moving !== 'sending') return
      const { code } = error as BusError
      if (code === 'publish_unknown') this.#tooMany(copy)
      else this.#forget(copy)
      delivery.moving = code === 'message_too_large' ? 'never' : 'no'
      return
    }
    // The copy may have been faster than its confirmation.
    if (delivery.moving !== 'sending' || awaited.outcome !== 'open') return
    delivery.moving = 'away'
    delivery.until = awaited.until
  }

  /** To be tried again after the delay, by members with the bus alone; false where it could not be sent there. */
  async retry(delivery: NsqDelivery, delayMs: number): Promise<boolean> {
    try {
      const storage = this.#parts.privateOf(delivery.storage)!
      await this.#parts.forward(storage, delivery.copyFor(storage, undefined), delayMs)
      return true
    } catch {
      return false
    }
  }

  /** Settled while its copy was under way: what is said of it holds for the copy. */
  settled(delivery: NsqDelivery, outcome: 'drop' | { readonly againAt: number }): void {
    const awaited = this.#awaited.get(delivery.copy)
    if (awaited) awaited.outcome = outcome
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
    if (this.#unwanted.delete(holder.copy)) {
      session.finish(copy.wireId)
      return 'done'
    }
    const awaited = this.#awaited.get(holder.copy)
    if (!awaited) return 'new'
    this.#forget(holder.copy)
    const { outcome, delivery } = awaited
    if (outcome === 'drop') session.finish(copy.wireId)
    else if (outcome !== 'open') session.connection.send(req(copy.wireId, Math.max(0, Math.ceil(outcome.againAt - now))))
    else return { mine: delivery }
    return 'done'
  }

  /** It may be there all the same: wherever it comes it is one too many. */
  #tooMany(copy: string): void {
    const awaited = this.#awaited.get(copy)
    if (awaited) awaited.outcome = 'drop'
    else this.#unwanted.set(copy, performance.now() + rememberMs)
  }

  #forget(copy: string): void {
    this.#awaited.delete(copy)
    if (this.#awaited.size === 0) for (const resolve of this.#onNoneAwaited.splice(0)) resolve()
  }

  /** Waits no longer for what others may take by now. */
  expire(now: number): void {
    for (const [copy, { until, outcome }] of this.#awaited) {
      if (until > now) continue
      this.#forget(copy)
      if (outcome === 'drop') this.#tooMany(copy)
    }
    for (const [copy, until] of this.#unwanted) {
      if (until > now) break
      this.#unwanted.delete(copy)
    }
  }
}
