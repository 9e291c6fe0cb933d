import type { Headers } from '../../message/headers.ts'
import type { Delivery, Outgoing, Source } from '../engine.ts'
import type { Broker } from './cluster.ts'
import { fenceOf, storedOf, uniqueOf, type WireMessage } from './message.ts'

/** What the broker gave with a message that was popped: with it the message is acknowledged, or its time is changed. */
export interface Receipt {
  /** The topic that it lies in: its own, or one where the broker puts what was not acknowledged in time. */
  readonly topic: string
  readonly queueId: number
  readonly offset: number
  /** `startOffset popTime invisibleTime reviveQueue retry broker queue offset`. */
  readonly text: string
}

/** A message in our hands, with where to settle it and until when it is ours. Times are `performance.now()`. */
export class PopDelivery implements Delivery {
  readonly storage: string
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly position: string
  readonly redelivered: boolean
  readonly fence: number
  readonly scope = undefined
  /** The same on every copy that the broker makes of it. */
  readonly unique: string
  readonly broker: Broker
  /** As the broker calls it. */
  readonly group: string
  receipt: Receipt
  readonly arrivedAt: number
  /** When the broker may give it to somebody else. */
  until: number
  /** With the core. */
  handed = false
  /** The broker has been asked to be done with it, and has not answered yet. */
  settling: 'ack' | 'release' | undefined
  /** Its copy for another attempt is stored. */
  copied = false
  /** The broker has been asked for more time, and has not answered yet. */
  changing: Promise<void> | undefined
  /** It is: the answer to the same again. */
  settled = false

  constructor(message: WireMessage, source: Source, group: string, broker: Broker, receipt: Receipt, leaseMs: number, now: number) {
    const { storage, name, id, key, headers, body, at, position } = storedOf(
      message,
      source.storage,
      `${broker.name}/${message.queueId}:${message.offset}`,
    )
    this.storage = storage
    this.name = name
    this.id = id
    this.key = key
    this.headers = headers
    this.body = body
    this.at = at
    this.position = position
    this.fence = fenceOf(message)
    this.redelivered = this.fence > 1
    this.unique = uniqueOf(message, broker.name)
    this.broker = broker
    this.group = group
    this.receipt = receipt
    this.arrivedAt = now
    this.until = now + leaseMs
  }

  /** As it goes to the private topic of its group. */
  copyFor(storage: string, deliverAt: number | undefined): Outgoing {
    const { id, name, key, headers, at, body } = this
    return { storage, name, id, key, headers, body, at, deliverAt }
  }
}
