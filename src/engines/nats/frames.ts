import { errors, type NatsConnection } from '@nats-io/transport-node'

/** What the types of the client leave out: where all that it sends goes through, whatever transport is behind. */
interface Inside {
  readonly protocol: { sendCommand(bytes: Uint8Array): void; flushPending(): void }
}

const pieceBytes = 64 * 1024
const none = Buffer.alloc(0)
/** So much goes out at once: the server has begun before the rest is written. */
const enoughBytes = 32 * 1024
/** UTF-8 takes no more of a character. */
const mostOfOne = 3

/**
 * Messages on their way out, written one behind the other as the protocol has them. The client's own `publish` makes five
 * arrays of each and copies them together later, which costs more than all else about a message.
 *
 * Whoever adds some sends them before anything else is asked of the client: nothing goes by itself.
 */
export class Frames {
  readonly #nc: NatsConnection
  #piece = none
  #used = 0

  constructor(nc: NatsConnection) {
    this.#nc = nc
  }

  /** `headers`: the block without the empty line at its end; '' = none. @throws InvalidArgumentError past the server's `max_payload` */
  add(subject: string, body: Uint8Array, reply = '', headers = ''): void {
    const block = headers === '' ? 0 : Buffer.byteLength(headers) + 2
    const size = block + body.length
    if (size > (this.#nc.info?.max_payload ?? Number.POSITIVE_INFINITY))
      throw errors.InvalidArgumentError.format('payload', 'max_payload size exceeded')
    const to = reply === '' ? subject : `${subject} ${reply}`
    const head = block === 0 ? `PUB ${to} ${size}\r\n` : `HPUB ${to} ${block} ${size}\r\n${headers}\r\n`
    this.#makeRoom(mostOfOne * head.length + body.length + 2)
    // A body that was taken away since (transferred to another thread) throws: nothing of its frame may stay.
    let at = this.#used + this.#piece.write(head, this.#used)
    this.#piece.set(body, at)
    at += body.length
    this.#piece[at++] = 13
    this.#piece[at++] = 10
    this.#used = at
    if (this.#used < enoughBytes) return
    this.send()
    this.#inside.flushPending()
  }

  /** Many small ones, each as {@link frameOf} makes it: written in one go. */
  addAll(frames: string): void {
    if (frames === '') return
    const bytes = Buffer.byteLength(frames)
    this.#makeRoom(bytes)
    this.#used += this.#piece.write(frames, this.#used)
  }

  /** Hands over what was added; it goes out with whatever else this turn of the event loop sends. */
  send(): void {
    if (this.#used === 0) return
    // A copy with memory of its own: by WebSocket the client sends all the memory that it lies in.
    this.#inside.sendCommand(new Uint8Array(this.#piece.subarray(0, this.#used)))
    this.#used = 0
    // One that a large body asked for does not stay.
    if (this.#piece.length > pieceBytes) this.#piece = none
  }

  get #inside(): Inside['protocol'] {
    return (this.#nc as unknown as Inside).protocol
  }

  #makeRoom(bytes: number): void {
    if (this.#piece.length - this.#used >= bytes) return
    this.send()
    if (this.#piece.length < bytes) this.#piece = Buffer.allocUnsafeSlow(Math.max(pieceBytes, bytes))
  }
}

/** A message of ASCII, without headers. */
export function frameOf(subject: string, text: string): string {
  return `PUB ${subject} ${text.length}\r\n${text}\r\n`
}
