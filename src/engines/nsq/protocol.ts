// TCP protocol V2 (https://nsq.io/clients/tcp_protocol_spec.html): frames in, commands out.

export const magic = Buffer.from('  V2')
export const heartbeat = '_heartbeat_'

/** The peer does not speak the protocol: its connection is of no more use. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

export interface FrameHandlers {
  response(text: string): void
  error(text: string): void
  message(message: WireMessage): void
}

/** A message as nsqd sends it. The body is a view into what was read from the socket. */
export interface WireMessage {
  /** 16 characters, kept through requeueing and restarts; unique on one nsqd. */
  readonly id: string
  /** When nsqd got it, ns since the epoch. */
  readonly timestampNs: bigint
  /** This delivery included. Ends at 65 535. */
  readonly attempts: number
  readonly body: Buffer
}

const [response, error, message] = [0, 1, 2]
const messageHeader = 26

/**
 * Cuts a stream into frames: size (32 bits, big endian), type (32 bits), rest. What arrives in one piece is not copied; a
 * frame in several pieces is put together once. It holds at most one frame of `maxFrameBytes`, and what came with its end.
 */
export class FrameParser {
  readonly #maxFrameBytes: number
  readonly #handlers: FrameHandlers
  #pieces: Buffer[] = []
  #held = 0
  /** Bytes until something can be cut off: a size, then a frame. */
  #needed = 4
  #failed = false
  #holding = false

  constructor(maxFrameBytes: number, handlers: FrameHandlers) {
    this.#maxFrameBytes = maxFrameBytes
    this.#handlers = handlers
  }

  /** @throws ProtocolError for what is no frame; after that nothing is taken any more */
  push(chunk: Buffer): void {
    if (this.#failed) return
    if (this.#holding) {
      this.#pieces.push(chunk)
      return
    }
    let bytes = chunk
    if (this.#held > 0) {
      this.#pieces.push(chunk)
      this.#held += chunk.length
      if (this.#held < this.#needed) return
      bytes = Buffer.concat(this.#pieces, this.#held)
    }
    this.#pieces = []
    this.#held = 0
    let at = 0
    while (bytes.length - at >= 4 && !this.#holding) {
      const size = bytes.readUInt32BE(at)
      if (size < 4 || size > this.#maxFrameBytes) this.#fail(size, bytes.subarray(at))
      this.#needed = 4 + size
      if (bytes.length - at < this.#needed) break
      this.#take(bytes.subarray(at + 4, at + this.#needed))
      // A handler may have closed the connection.
      if (this.#failed) return
      at += this.#needed
      this.#needed = 4
    }
    if (at === bytes.length) return
    this.#pieces.push(at === 0 ? bytes : bytes.subarray(at))
    this.#held = bytes.length - at
  }

  /** What comes after the frame in hand is not frames as these: it is kept as it is, for {@link release}. */
  hold(): void {
    this.#holding = true
  }

  release(): Buffer {
    const rest = Buffer.concat(this.#pieces)
    this.stop()
    return rest
  }

  /** Takes nothing any more. */
  stop(): void {
    this.#failed = true
    this.#pieces = []
  }

  #take(frame: Buffer): void {
    const type = frame.readUInt32BE(0)
    if (type === message) this.#handlers.message(this.#messageOf(frame.subarray(4)))
    else if (type === response) this.#handlers.response(frame.toString('latin1', 4))
    else if (type === error) this.#handlers.error(frame.toString('utf8', 4))
    else this.#fail(frame.length, frame)
  }

  #messageOf(frame: Buffer): WireMessage {
    if (frame.length < messageHeader) this.#fail(frame.length, frame)
    return {
      timestampNs: frame.readBigInt64BE(0),
      attempts: frame.readUInt16BE(8),
      id: frame.toString('latin1', 10, messageHeader),
      body: frame.subarray(messageHeader),
    }
  }

  #fail(size: number, begin: Buffer): never {
    this.stop()
    const text = begin.toString('latin1', 0, 40)
    if (text.startsWith('HTTP')) throw new ProtocolError('an HTTP server listens there')
    if (text.includes('E_BAD_PROTOCOL')) throw new ProtocolError('nsqlookupd listens there')
    throw new ProtocolError(
      `${size > this.#maxFrameBytes ? `a frame of ${size} bytes` : 'bytes that are no frame'} came: no nsqd speaks so`,
    )
  }
}

// ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

const line = (text: string): Buffer => Buffer.from(`${text}\n`, 'latin1')

function sized(...bodies: readonly Uint8Array[]): Buffer[] {
  const size = Buffer.allocUnsafe(4)
  size.writeUInt32BE(bodies.reduce((sum, { length }) => sum + length, 0))
  return [size, ...(bodies as Buffer[])]
}

export const nop = line('NOP')
export const cls = line('CLS')
export const identify = (properties: object): Buffer[] => [line('IDENTIFY'), ...sized(Buffer.from(JSON.stringify(properties)))]
export const auth = (secret: string): Buffer[] => [line('AUTH'), ...sized(Buffer.from(secret))]
export const sub = (topic: string, channel: string): Buffer => line(`SUB ${topic} ${channel}`)
export const rdy = (count: number): Buffer => line(`RDY ${count}`)
export const fin = (id: string): Buffer => line(`FIN ${id}`)
export const req = (id: string, delayMs: number): Buffer => line(`REQ ${id} ${delayMs}`)
export const touch = (id: string): Buffer => line(`TOUCH ${id}`)
export const pub = (topic: string, body: Uint8Array): Buffer[] => [line(`PUB ${topic}`), ...sized(body)]
export const dpub = (topic: string, delayMs: number, body: Uint8Array): Buffer[] => [line(`DPUB ${topic} ${delayMs}`), ...sized(body)]

export function mpub(topic: string, bodies: readonly Uint8Array[]): Buffer[] {
  const count = Buffer.allocUnsafe(4)
  count.writeUInt32BE(bodies.length)
  return [line(`MPUB ${topic}`), ...sized(count, ...bodies.flatMap((body) => sized(body)))]
}
