import type { Msg } from '@nats-io/transport-node'
import type { Headers } from '../../message/headers.ts'
import type { Delivery } from '../engine.ts'
import { decodeHeaders } from './headers.ts'
import { nameOf } from './names.ts'
import { blockOf, subjectTextOf } from './raw.ts'

/** What the acknowledgement subject of a message tells (ADR-15; with domain and account hash since 2.14). */
export interface AckInfo {
  readonly delivered: number
  readonly sequence: number
  /** The server counts what it sends, each time it sends it. */
  readonly consumerSequence: number
  readonly atMs: number
}

const ackPrefix = '$JS.ACK.'
/** Where the tokens of the reply that is read begin: made once, as there is one of these for each message. */
const starts = new Int32Array(12)

export function parseAck(reply: string): AckInfo | undefined {
  if (!reply.startsWith(ackPrefix)) return undefined
  let tokens = 2
  starts[tokens++] = ackPrefix.length
  for (let i = ackPrefix.length; i < reply.length && tokens < starts.length; i++) if (reply.charCodeAt(i) === 46) starts[tokens++] = i + 1
  const first = tokens === 9 ? 4 : tokens >= 11 ? 6 : 0
  if (first === 0) return undefined
  return {
    delivered: numberIn(reply, first),
    sequence: numberIn(reply, first + 1),
    consumerSequence: numberIn(reply, first + 2),
    // A time in ns without the last six of its digits is one in ms.
    atMs: numberIn(reply, first + 3, 6),
  }
}

/** Of a token that another one follows. */
function numberIn(reply: string, token: number, without = 0): number {
  let value = 0
  for (let i = starts[token]!; i < starts[token + 1]! - 1 - without; i++) value = value * 10 + reply.charCodeAt(i) - 48
  return value
}

/** What a reader knows of all its messages. */
export interface Origin {
  readonly storage: string
  readonly stream: string
  readonly partitioned: boolean
  /** The consumer's name. */
  readonly durable: string
  readonly scope: string | undefined
  readonly epoch: number
  /** Whether the scope is still ours. */
  readonly held: (() => boolean) | undefined
  /** Up to this sequence an owner before may have had them, whatever the server counts. */
  readonly redeliveredTo: number
  readonly ackWaitMs: number
  readonly leaseMs: number
}

/** A message in our hands, with where to acknowledge it and until when it is ours. */
export class NatsDelivery implements Delivery {
  readonly storage: string
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  readonly sequence: number
  readonly redelivered: boolean
  readonly fence: number
  readonly scope: string | undefined
  readonly stream: string
  readonly durable: string
  readonly held: (() => boolean) | undefined
  reply: string
  readonly ackWaitMs: number
  /** When the server gives it to somebody else, ms, by the clock that nobody sets (`performance.now()`), as all times here but `at`. */
  until: number
  /** The same before it was last extended, for a server that refuses to extend. */
  sureUntil: number
  /** The server refused to hear of it. */
  denied = false
  /** Until when the core wants it; the server is asked again and again for as long. */
  wanted: number
  /** Its place in {@link Hand}; -1 outside. */
  place = -1
  /** When it came, or was last kept though it could not begin, ms. */
  since: number
  /** It was given back until then, ms; 0 = never. */
  notBefore = 0

  constructor(msg: Msg, ack: AckInfo, place: Origin, now: number) {
    const { id, key, headers, at } = decodeHeaders(blockOf(msg))
    this.storage = place.storage
    this.name = nameOf(subjectTextOf(msg), place.partitioned)
    this.id = id ?? `${place.stream}:${ack.sequence}`
    this.key = key
    this.headers = headers
    this.body = msg.data
    this.at = at ?? ack.atMs
    this.sequence = ack.sequence
    this.redelivered = ack.delivered > 1 || ack.sequence <= place.redeliveredTo
    this.fence = place.scope === undefined ? ack.delivered : place.epoch
    this.scope = place.scope
    this.stream = place.stream
    this.durable = place.durable
    this.held = place.held
    this.reply = msg.reply!
    this.ackWaitMs = place.ackWaitMs
    this.until = now + place.ackWaitMs
    this.sureUntil = this.until
    this.wanted = now + place.leaseMs
    this.since = now
  }

  /** The same, to be handed out once more. */
  again(notBefore: number): NatsDelivery {
    const copy: NatsDelivery = Object.assign(Object.create(NatsDelivery.prototype), this)
    return Object.assign(copy, { redelivered: true, place: -1, notBefore: Math.max(1, notBefore) })
  }

  get position(): string {
    return String(this.sequence)
  }
}
