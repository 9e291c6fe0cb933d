import type { NatsConnection } from '@nats-io/transport-node'

/** The client's own, as far as it is asked here. */
interface ClientParser {
  parse(bytes: Uint8Array): void
  /** 0 between two messages. */
  readonly state: number
  readonly ma: { readonly size: number }
  /** What has come of the body of a message that comes in pieces. */
  readonly msgBuf: { readonly length: number } | undefined
}

/** The part of the client that its types leave out. */
interface Inside {
  readonly protocol: { parser: ClientParser; processMsg(told: Told, data: Uint8Array): void }
}

interface Told {
  readonly subject: Uint8Array
  readonly sid: number
  readonly reply: Uint8Array | undefined
  readonly size: number
  /** Bytes of the header block; -1 = none. */
  readonly hdr: number
}

/** From now on, and after each connect, for which the client makes a parser anew. */
export function parseQuickly(nc: NatsConnection): void {
  const { protocol } = nc as unknown as Inside
  let parser = new QuickParser(protocol.parser, protocol)
  Object.defineProperty(protocol, 'parser', {
    get: () => parser,
    set: (made: ClientParser) => {
      parser = new QuickParser(made, protocol)
    },
  })
}

const space = 32
const cr = 13
const lf = 10
/** Where the words of the line that is read begin. */
const starts = new Int32Array(6)

/**
 * Messages that lie whole in what came are read here: the client's own parser looks at each byte with all that may be in mind, and
 * makes an array of each word. All else is left to it.
 */
export class QuickParser {
  readonly #client: ClientParser
  readonly #protocol: Pick<Inside['protocol'], 'processMsg'>

  constructor(client: ClientParser, protocol: Pick<Inside['protocol'], 'processMsg'>) {
    this.#client = client
    this.#protocol = protocol
  }

  parse(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#client.state === 0) at = this.#whole(bytes, at)
      if (at === bytes.length) return
      const end = this.#endOfPart(bytes, at)
      this.#client.parse(bytes.subarray(at, end))
      at = end
    }
  }

  /** As far as the client's parser goes before it is asked whether it is between two messages again: a line, or the rest of a body. */
  #endOfPart(bytes: Uint8Array, at: number): number {
    const { msgBuf, ma } = this.#client
    const end = msgBuf ? at + ma.size - msgBuf.length + 2 : bytes.indexOf(lf, at) + 1
    return end === 0 ? bytes.length : Math.min(end, bytes.length)
  }

  /** Reads whole messages, and returns where something else begins. */
  #whole(bytes: Uint8Array, from: number): number {
    let at = from
    for (;;) {
      const headed = bytes[at] === 0x48
      let i = headed ? at + 1 : at
      if (bytes[i] !== 0x4d || bytes[i + 1] !== 0x53 || bytes[i + 2] !== 0x47 || bytes[i + 3] !== space) return at
      i += 4
      let words = 0
      starts[words++] = i
      for (; i < bytes.length && bytes[i] !== cr; i++) {
        if (bytes[i] !== space) continue
        if (words === 5) return at
        starts[words++] = i + 1
      }
      starts[words] = i + 1
      const least = headed ? 4 : 3
      if (words !== least && words !== least + 1) return at
      const sid = numberIn(bytes, 1)
      const size = numberIn(bytes, words - 1)
      const hdr = headed ? numberIn(bytes, words - 2) : -1
      const body = i + 2
      const end = body + size
      if (sid < 0 || size < 0 || hdr > size || (headed && hdr < 0) || bytes[i + 1] !== lf) return at
      if (bytes[end] !== cr || bytes[end + 1] !== lf) return at
      const reply = words > least ? bytes.subarray(starts[2]!, starts[3]! - 1) : undefined
      const told = { subject: bytes.subarray(starts[0]!, starts[1]! - 1), sid, reply, size, hdr }
      at = end + 2
      this.#protocol.processMsg(told, bytes.subarray(body, end))
      if (at === bytes.length) return at
    }
  }
}

/** -1 = it is none. */
function numberIn(bytes: Uint8Array, word: number): number {
  const [from, to] = [starts[word]!, starts[word + 1]! - 1]
  if (from === to || to - from > 12) return -1
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - 48
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}
