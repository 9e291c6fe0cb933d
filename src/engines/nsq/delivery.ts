import type { Headers } from '../../message/headers.ts'
import type { Delivery } from '../engine.ts'
import { type Move, unwrap, wrap } from './envelope.ts'
import type { WireMessage } from './protocol.ts'
import type { Session } from './session.ts'

/** A message in our hands, with where to settle it and until when it is ours. Times are `performance.now()`. */
export class NsqDelivery implements Delivery {
  readonly storage: string
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly redelivered: boolean
  readonly fence: number
  readonly scope = undefined
  /** nsqd's id of it. */
  wireId: string
  readonly moved: Move | undefined
  /** How long it is still to wait; not above 0 where it is not. */
  readonly tooEarlyMs: number
  /** What it came through; the connection may have ended since. */
  session: Session
  readonly arrivedAt: number
  /** When nsqd gives it to somebody else. */
  until: number
  /** After this nsqd extends no more. */
  limit: number
  /** Until when the core wants it. */
  wanted: number
  /** Its place in {@link Hand}; -1 outside. */
  place = -1
  /** With the core. */
  handed = false
  /** Its copy is on the way to the private topic, or there while nsqd has none of ours: see {@link Moves}. */
  moving: 'no' | 'sending' | 'away' | 'never' = 'no'
  /** The name of its last copy. */
  copy = ''

  constructor(message: WireMessage, storage: string, raw: boolean, session: Session, leaseMs: number, now: number) {
    const opened = raw ? undefined : unwrap(message.body)
    const { id, name, key, headers, at, dueAt, moved } = opened?.envelope ?? foreign(message, storage)
    this.storage = storage
    this.name = name
    this.id = id
    this.key = key
    this.headers = headers
    this.body = opened?.body ?? message.body
    this.at = at
    this.moved = moved
    // Stopped and started again, nsqd gives at once what it was to delay.
    this.tooEarlyMs = dueAt !== undefined && message.timestampNs < session.bornNs ? dueAt - Date.now() : 0
    this.redelivered = message.attempts > 1 || moved !== undefined || message.timestampNs < session.bornNs
    this.fence = message.attempts + (moved?.fence ?? 0)
    this.wireId = message.id
    this.session = session
    this.arrivedAt = now
    this.until = now + session.msgTimeoutMs
    this.limit = now + session.maxMsgTimeoutMs
    this.wanted = now + leaseMs
  }

  get position(): string {
    return this.wireId
  }

  /** nsqd has it from us anew: from now on it counts again. */
  extended(now: number): void {
    this.until = Math.min(this.limit, now + this.session.msgTimeoutMs)
  }

  /** As it goes to the private topic of its group. */
  copyFor(storage: string, holder: Move['holder']): Buffer {
    return wrap({ ...this.#content, storage }, { fence: this.fence, ...(holder && { holder }) })
  }

  get #content() {
    const { id, name, key, headers, at, body } = this
    return { id, name, key, headers, at, body }
  }

  /** The same message, come again while it is in hand. */
  adopt(session: Session, wireId: string, now: number): void {
    this.session = session
    this.wireId = wireId
    this.moving = 'no'
    this.limit = now + session.maxMsgTimeoutMs
    this.until = now + session.msgTimeoutMs
  }
}

// nsqd's ids are unique on one nsqd, and two on one machine number alike: with the time of arrival they are apart. Both stay
// what they are when it comes again.
function foreign({ id, timestampNs }: WireMessage, storage: string) {
  return {
    id: `${id}-${timestampNs.toString(36)}`,
    name: storage,
    key: undefined,
    headers: undefined,
    at: Number(timestampNs / 1_000_000n),
    dueAt: undefined,
    moved: undefined,
  }
}
