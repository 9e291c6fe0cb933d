import type { NsqDelivery } from './delivery.ts'
import { type Finished, keyOf } from './finished.ts'
import type { InHand } from './in-hand.ts'
import type { Moves } from './moves.ts'
import { touch } from './protocol.ts'
import type { Session } from './session.ts'

/** What nsqd sent beyond the credit goes back after this time, for others to have it. */
const keepUnusedMs = 1000
/** So long after its original was finished nsqd may still say that it was somebody else's. */
const unsureMs = 60_000

export interface LeaseParts {
  readonly leaseMs: number
  readonly hand: InHand
  readonly moves: Moves
  readonly finished: Finished
  readonly sessions: ReadonlySet<Session>
  /** Whether what waits here without credit may go back to others. */
  readonly givesBack: (storage: string) => boolean
  readonly finish: (delivery: NsqDelivery) => void
  readonly giveBack: (deliveries: readonly NsqDelivery[]) => void
  readonly lose: (deliveries: readonly NsqDelivery[], why: string) => void
  /** What may be sent has changed. */
  readonly changed: () => void
}

/** Looks again and again at how long what is in hand is still ours: keeps it alive, moves it on, tells what ran out. */
export class Leases {
  readonly #parts: LeaseParts
  /** Deliveries that go on as copies, by their originals, until nsqd has surely heard that those are finished. */
  readonly #originals = new Map<string, { readonly delivery: NsqDelivery; readonly until: number }>()
  readonly #timer: NodeJS.Timeout

  constructor(parts: LeaseParts) {
    this.#parts = parts
    this.#timer = setInterval(this.#look, Math.max(20, Math.min(250, parts.leaseMs / 6)))
    this.#timer.unref()
  }

  /** Keeps alive what waits here, and what the core wants for longer than nsqd gives at once. */
  #look = (): void => {
    const now = performance.now()
    const { hand, moves, finished, sessions, givesBack } = this.#parts
    const lost: NsqDelivery[] = []
    const unused: NsqDelivery[] = []
    const commands: [Session, Buffer][] = []
    for (const delivery of hand.all()) {
      const { session, handed, until } = delivery
      if (until <= now) lost.push(delivery)
      else if (!session.open || delivery.moving === 'away') continue
      else if (handed && this.#nearsItsEnd(delivery, now)) void this.#moveOn(delivery, now)
      else if (!handed && !hand.hasCredit && delivery.arrivedAt + keepUnusedMs <= now && givesBack(delivery.storage)) unused.push(delivery)
      else if ((!handed || delivery.wanted > until) && until - now < (session.msgTimeoutMs * 2) / 3) this.extend(delivery, now, commands)
    }
    for (const [session, command] of commands) session.connection.send(command)
    let calmed = false
    for (const session of sessions) if (session.calmed(now)) calmed = true
    if (calmed) this.#parts.changed()
    this.#parts.lose(lost, 'its lease ran out and another member may have it')
    this.#parts.giveBack(unused)
    moves.expire(now)
    for (const [key, { until }] of this.#originals) if (until <= now) this.#originals.delete(key)
    finished.expire(now)
  }

  extend(delivery: NsqDelivery, now: number, commands: [Session, Buffer][]): void {
    if (delivery.until >= delivery.limit) return
    commands.push([delivery.session, touch(delivery.wireId)])
    delivery.extended(now)
  }

  #nearsItsEnd(delivery: NsqDelivery, now: number): boolean {
    if (delivery.moving !== 'no' || delivery.wanted <= delivery.limit) return false
    return delivery.limit - now < Math.min(30_000, delivery.session.maxMsgTimeoutMs / 4) && this.#parts.moves.can(delivery)
  }

  /** Before nsqd's longest lease is over the job goes on in the private topic. */
  async #moveOn(delivery: NsqDelivery, now: number): Promise<void> {
    const { hand, moves, changed } = this.#parts
    const moved = moves.hold(delivery, now)
    changed()
    await moved
    if (hand.has(delivery) && delivery.moving === 'away') this.finishOriginal(delivery)
    changed()
  }

  /** A copy stands in its place. */
  finishOriginal(delivery: NsqDelivery): void {
    const { session, wireId } = delivery
    session.inFlight--
    session.finish(wireId)
    this.#originals.set(keyOf(session, wireId), { delivery, until: performance.now() + unsureMs })
  }

  /** nsqd has given it to somebody else, or has forgotten it. */
  refused(session: Session, id: string): void {
    const { hand, moves, finish, lose } = this.#parts
    const original = this.#originals.get(keyOf(session, id))?.delivery
    if (!original) {
      const delivery = hand.of(session, id)
      if (delivery) lose([delivery], 'its lease ran out and another member may have it')
      return
    }
    // The job is not done here: should it come back, it is work. Whoever has it has the job, and the copy is one too many.
    session.untell(id)
    if (!hand.has(original)) return
    if (original.moving === 'away') moves.settled(original, 'drop')
    else finish(original)
    lose([original], 'its lease ran out while it was moved, and another member may have it')
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
