import type { Headers } from '../../message/headers.ts'
import type { Delivery, Stored } from '../engine.ts'
import type { Consumer } from './consumer.ts'
import type { MessageId } from './protocol.ts'

/** What the broker hands over at once: one message, or a batch that Go or Java made. It is done with as a whole. */
export class Entry {
  readonly consumer: Consumer
  readonly id: MessageId
  readonly count: number
  /** Of its messages those that are settled, and those that are not here. */
  readonly settled: boolean[]
  left: number
  /** The consumer that it came by is no more; since when, `performance.now()`. */
  adriftSince: number | undefined

  constructor(consumer: Consumer, id: MessageId, count: number) {
    this.consumer = consumer
    this.id = id
    this.count = count
    this.settled = new Array<boolean>(count).fill(false)
    this.left = count
  }

  settle(batch: number): void {
    const i = Math.max(0, batch)
    if (this.settled[i] !== false) return
    this.settled[i] = true
    this.left--
  }
}

let lastFence = 0

/** A message in our hands. Times are `performance.now()`. */
export class PulsarDelivery implements Delivery {
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
  readonly entry: Entry
  readonly batch: number
  readonly arrivedAt: number
  /** Without an extension it is given back then: the broker itself keeps it for us for as long as we are there. */
  until: number
  /** With the core. */
  handed = false
  place = -1

  constructor(message: Stored, entry: Entry, batch: number, redelivered: boolean, leaseMs: number, now: number) {
    this.storage = message.storage
    this.name = message.name
    this.id = message.id
    this.key = message.key
    this.headers = message.headers
    this.body = message.body
    this.at = message.at
    this.position = message.position
    this.redelivered = redelivered
    // By the clock of whoever has it: the broker's own count begins anew with each of its starts.
    this.fence = lastFence = Math.max(lastFence, Date.now())
    this.entry = entry
    this.batch = batch
    this.arrivedAt = now
    this.until = now + leaseMs
  }
}
