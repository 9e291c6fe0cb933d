import * as zlib from 'node:zlib'
import { BusError } from '../../errors.ts'
import { wire } from '../../message/wire.ts'
import type { Outgoing, Stored } from '../engine.ts'
import { ProtocolError } from './protocol.ts'

/** Properties of ours. The id under which it was sent, where a replay's own id stands in {@link wire.id}. */
const own = {
  id: 'cozebus-message-id',
  /** The full name, where it is not the storage's. */
  name: 'cozebus-name',
  /** When it was published, ms, where that is not when it was born. */
  at: 'cozebus-at',
  /** How often it had been handed over before it was sent again. */
  fence: 'cozebus-fence',
  /** RocketMQ takes no empty body: what stands in its place is none. */
  empty: 'cozebus-empty',
  /** In front of a header whose name could be one of RocketMQ's own. */
  header: 'cozebus-header-',
} as const

/** The broker refuses more. */
const mostPropertyBytes = 32_000
/** One compressed body may become so large. */
const mostInflated = 256 * 1024 * 1024

/** A message as it lies in a queue: MessageDecoder of the Java client tells the form. */
export interface WireMessage {
  readonly topic: string
  readonly queueId: number
  readonly offset: number
  readonly bornMs: number
  readonly storedMs: number
  readonly reconsumeTimes: number
  readonly properties: ReadonlyMap<string, string>
  readonly body: Buffer
  /**
   * Its broker was killed while it stored it: what looks whole to a broker that starts again, which checks the body alone, ends
   * in zeros. It was confirmed to nobody, and is none.
   */
  readonly isTorn: boolean
}

/** RocketMQ's own have no small letter, or begin with _. */
const isTheirs = (name: string): boolean => name.startsWith('_') || !/[a-z]/.test(name)

export interface Extra {
  readonly fence?: number
  /** ms since the epoch. */
  readonly deliverAt?: number | undefined
}

/** @throws BusError `invalid_message`, `message_too_large` */
export function propertiesOf(
  message: Omit<Outgoing, 'deliverAt'>,
  unique: string,
  bornMs: number,
  { fence, deliverAt }: Extra = {},
): string {
  let text = `UNIQ_KEY\x01${unique}\x02WAIT\x01true\x02${own.id}\x01${checked(message.id, 'the id')}\x02`
  if (message.key !== undefined) {
    const key = checked(message.key, 'the key')
    // Go's clients read the one, Java's the other.
    text += `SHARDING_KEY\x01${key}\x02__SHARDINGKEY\x01${key}\x02`
  }
  if (message.name !== message.storage) text += `${own.name}\x01${message.name}\x02`
  if (message.at !== bornMs) text += `${own.at}\x01${message.at}\x02`
  if (fence !== undefined) text += `${own.fence}\x01${fence}\x02`
  if (message.body.byteLength === 0) text += `${own.empty}\x01true\x02`
  if (deliverAt !== undefined) text += `TIMER_DELIVER_MS\x01${Math.ceil(deliverAt)}\x02`
  for (const name in message.headers)
    text += `${isTheirs(name) ? own.header : ''}${name}\x01${checked(message.headers[name]!, `header '${name}'`)}\x02`
  const bytes = Buffer.byteLength(text)
  if (bytes > mostPropertyBytes)
    throw new BusError(
      'message_too_large',
      `topic '${message.name}': key and headers take ${bytes} bytes; RocketMQ takes ${mostPropertyBytes} of them`,
    )
  return text
}

function checked(text: string, what: string): string {
  if (text.includes('\x01') || text.includes('\x02') || !text.isWellFormed())
    throw new BusError(
      'invalid_message',
      `${what} holds a character that RocketMQ cannot carry (\\x01, \\x02, half a character); encode it`,
    )
  return text
}

/** One of the messages in the body of a batch. */
export function encodeInBatch(body: Uint8Array, properties: string): Buffer {
  const size = Buffer.byteLength(properties)
  const bytes = Buffer.allocUnsafe(22 + body.byteLength + size)
  bytes.writeInt32BE(bytes.length, 0)
  bytes.fill(0, 4, 16)
  bytes.writeInt32BE(body.byteLength, 16)
  bytes.set(body, 20)
  bytes.writeUInt16BE(size, 20 + body.byteLength)
  bytes.write(properties, 22 + body.byteLength)
  return bytes
}

/** @throws ProtocolError */
export function decodeMessages(bytes: Buffer): WireMessage[] {
  const found: WireMessage[] = []
  try {
    for (let at = 0; at < bytes.length; ) {
      const size = bytes.readInt32BE(at)
      if (size < 90 || at + size > bytes.length) throw new RangeError(`a message of ${size} bytes`)
      found.push(decodeOne(bytes.subarray(at, at + size)))
      at += size
    }
  } catch (error) {
    throw new ProtocolError('messages that cannot be read', { cause: error })
  }
  return found
}

function decodeOne(bytes: Buffer): WireMessage {
  const magic = bytes.readUInt32BE(4)
  if (magic !== 0xdaa320a7 && magic !== 0xdaa320ab) throw new RangeError(`the magic ${magic.toString(16)}`)
  const flags = bytes.readInt32BE(36)
  let at = 48 + (flags & 0x10 ? 20 : 8)
  const storedMs = Number(bytes.readBigInt64BE(at))
  at += 8 + (flags & 0x20 ? 20 : 8)
  const reconsumeTimes = bytes.readInt32BE(at)
  at += 12
  const bodyLength = bytes.readInt32BE(at)
  at += 4
  if (bodyLength < 0 || at + bodyLength > bytes.length) throw new RangeError(`a body of ${bodyLength} bytes`)
  const body = inflated(bytes.subarray(at, at + bodyLength), flags)
  at += bodyLength
  const topicLength = magic === 0xdaa320ab ? bytes.readUInt16BE(at) : bytes.readUInt8(at)
  at += magic === 0xdaa320ab ? 2 : 1
  const topic = bytes.toString('utf8', at, at + topicLength)
  at += topicLength
  const propertiesLength = bytes.readUInt16BE(at)
  const text = bytes.toString('utf8', at + 2, at + 2 + propertiesLength)
  return {
    topic,
    queueId: bytes.readInt32BE(12),
    offset: Number(bytes.readBigInt64BE(20)),
    bornMs: Number(bytes.readBigInt64BE(40)),
    storedMs,
    reconsumeTimes,
    properties: parseProperties(text),
    isTorn: text.endsWith('\0'),
    body,
  }
}

/** One that cannot be inflated goes on as it is: whoever decodes it finds out, and it ends as a dead letter with its bytes. */
function inflated(body: Buffer, flags: number): Buffer {
  if ((flags & 1) === 0) return body
  const kind = (flags >> 8) & 7
  const limit = { maxOutputLength: mostInflated }
  try {
    if (kind === 0 || kind === 3) return zlib.inflateSync(body, limit)
    if (kind === 2) return zlib.zstdDecompressSync(body, limit)
  } catch {
    return body
  }
  return body
}

function parseProperties(text: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const pair of text.split('\x02')) {
    const cut = pair.indexOf('\x01')
    if (cut > 0) found.set(pair.slice(0, cut), pair.slice(cut + 1))
  }
  return found
}

/** The id that a client gave, the same on every copy that a broker makes; where it gave none, the place of the message. */
export function uniqueOf({ properties, topic, queueId, offset }: WireMessage, broker: string): string {
  return properties.get('UNIQ_KEY') ?? `${topic}:${broker}/${queueId}:${offset}`
}

/** How often it was handed over, this time with it. */
export function fenceOf({ properties, reconsumeTimes }: WireMessage): number {
  const before = Number(properties.get(own.fence) ?? 0)
  return 1 + Math.max(0, reconsumeTimes) + (Number.isSafeInteger(before) && before > 0 ? before : 0)
}

const noBody = Buffer.alloc(0)

/** What goes over the wire. */
export function wireBody(body: Uint8Array): Uint8Array {
  return body.byteLength === 0 ? placeholder : body
}

const placeholder = Buffer.from(' ')

/** A message of anybody's: without a property of ours its id is what its client gave it. */
export function storedOf(message: WireMessage, storage: string, position: string): Stored {
  const { properties } = message
  let headers: Record<string, string> | undefined
  let at = message.bornMs
  for (const [name, value] of properties) {
    if (name === own.at || name === wire.publishedAt) {
      if (value !== '' && Number.isFinite(Number(value))) at = Number(value)
      if (name === own.at) continue
    }
    if (name === own.id || name === own.name || name === own.fence || name === own.empty) continue
    if (name.startsWith(own.header)) (headers ??= {})[name.slice(own.header.length)] = value
    else if (!isTheirs(name)) (headers ??= {})[name] = value
  }
  return {
    storage,
    name: properties.get(own.name) ?? storage,
    id: properties.get(own.id) ?? uniqueOf(message, position.slice(0, position.lastIndexOf('/', position.indexOf(':')))),
    key: properties.get('SHARDING_KEY') ?? properties.get('__SHARDINGKEY'),
    headers,
    body: properties.has(own.empty) ? noBody : message.body,
    at,
    position,
  }
}
