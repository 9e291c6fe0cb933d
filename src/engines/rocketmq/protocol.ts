import { createHmac } from 'node:crypto'

/**
 * RocketMQ's remoting protocol with JSON headers, as
 * https://github.com/apache/rocketmq/blob/rocketmq-all-5.3.2/remoting/src/main/java/org/apache/rocketmq/remoting/protocol/RemotingCommand.java
 * has it: a frame is its length, the length of its header with the kind of header in the highest byte, the header, a body.
 */
export const request = {
  pull: 11,
  committed: 14,
  commit: 15,
  createTopic: 17,
  brokerConfig: 26,
  runtime: 28,
  offsetAt: 29,
  maxOffset: 30,
  minOffset: 31,
  heartbeat: 34,
  unregister: 35,
  sendBack: 36,
  members: 38,
  membersChanged: 40,
  lock: 41,
  unlock: 42,
  putNote: 100,
  note: 101,
  route: 105,
  clusterInfo: 106,
  createGroup: 200,
  topicStats: 202,
  allTopics: 206,
  deleteGroup: 207,
  groupStats: 208,
  deleteTopic: 215,
  deleteRoute: 216,
  notes: 219,
  groupsOf: 300,
  send: 310,
  sendBatch: 320,
  topicsOfGroup: 343,
  topicConfig: 351,
  groupConfig: 352,
  pop: 200_050,
  ack: 200_051,
  extend: 200_053,
  ackBatch: 200_151,
} as const

export const answer = {
  ok: 0,
  systemError: 1,
  busy: 2,
  unknownRequest: 3,
  flushDiskTimeout: 10,
  noReplica: 11,
  flushReplicaTimeout: 12,
  illegalMessage: 13,
  notServing: 14,
  noPermission: 16,
  noTopic: 17,
  nothing: 19,
  again: 20,
  offsetMoved: 21,
  noOffset: 22,
  noNotes: 22,
  noSubscription: 24,
  noGroup: 26,
  pollingFull: 209,
  pollingTimeout: 210,
} as const

/** Of MQVersion: any from 5 on is answered in full. */
const version = 477

export type Fields = Readonly<Record<string, string>>

export interface Frame {
  readonly code: number
  readonly opaque: number
  /** An answer; else the broker asks. */
  readonly isAnswer: boolean
  readonly remark: string
  readonly fields: Fields
  readonly body: Buffer
}

export interface Keys {
  readonly accessKey: string
  readonly secretKey: string
}

const noBody = Buffer.alloc(0)

export function encodeFrame(code: number, opaque: number, fields: Fields, body: Buffer = noBody, keys?: Keys): [Buffer, Buffer] {
  const header = Buffer.from(
    JSON.stringify({
      code,
      language: 'OTHER',
      version,
      opaque,
      flag: 0,
      extFields: keys ? signed(fields, body, keys) : fields,
      serializeTypeCurrentRPC: 'JSON',
    }),
  )
  const head = Buffer.allocUnsafe(8 + header.length)
  head.writeUInt32BE(4 + header.length + body.length, 0)
  head.writeUInt32BE(header.length, 4)
  header.copy(head, 8)
  return [head, body]
}

/** The values in the order of their names, then the body, signed: AclClientRPCHook and AclUtils of the Java client. */
function signed(fields: Fields, body: Buffer, { accessKey, secretKey }: Keys): Fields {
  const all: Record<string, string> = { ...fields, AccessKey: accessKey }
  const hmac = createHmac('sha1', secretKey)
  for (const name of Object.keys(all).sort()) hmac.update(all[name]!)
  return { ...all, Signature: hmac.update(body).digest('base64') }
}

/** The other side does not speak the protocol. */
export class ProtocolError extends Error {}

/** Frames out of whatever pieces the socket gives; copies bytes only of a frame that comes in several. */
export class FrameParser {
  readonly #mostBytes: number
  readonly #take: (frame: Frame) => void
  #pieces: Buffer[] = []
  #held = 0
  /** Of the frame that is begun, its length's four bytes with it; 4 while that is not known. */
  #needed = 4

  constructor(mostBytes: number, take: (frame: Frame) => void) {
    this.#mostBytes = mostBytes
    this.#take = take
  }

  /** @throws ProtocolError */
  push(chunk: Buffer): void {
    this.#held += chunk.length
    if (this.#held < this.#needed) {
      this.#pieces.push(chunk)
      return
    }
    const bytes = this.#pieces.length === 0 ? chunk : Buffer.concat([...this.#pieces, chunk])
    let at = 0
    this.#needed = 4
    while (bytes.length - at >= this.#needed) {
      this.#needed = 4 + this.#lengthAt(bytes, at)
      if (bytes.length - at < this.#needed) break
      this.#take(parseFrame(bytes.subarray(at + 4, at + this.#needed)))
      at += this.#needed
      this.#needed = 4
    }
    this.#pieces = at < bytes.length ? [bytes.subarray(at)] : []
    this.#held = bytes.length - at
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at)
    if (length >= 4 && length <= this.#mostBytes) return length
    const begin = bytes.toString('latin1', at, at + 4)
    throw new ProtocolError(
      /^(HTTP|<!DO)/.test(begin) ? 'it speaks another protocol' : `a frame of ${length} bytes (at most ${this.#mostBytes})`,
    )
  }
}

function parseFrame(frame: Buffer): Frame {
  const word = frame.readUInt32BE(0)
  const headerEnd = 4 + (word & 0xff_ffff)
  if (word >>> 24 !== 0) throw new ProtocolError(`a header of kind ${word >>> 24}, where JSON was asked for`)
  if (headerEnd > frame.length) throw new ProtocolError('a header that is longer than its frame')
  let header: Record<string, unknown>
  try {
    header = JSON.parse(frame.toString('utf8', 4, headerEnd)) as Record<string, unknown>
  } catch (error) {
    throw new ProtocolError('a header that is no JSON', { cause: error })
  }
  const { code, opaque, flag, remark, extFields } = header ?? {}
  if (!Number.isInteger(code) || !Number.isInteger(opaque) || !Number.isInteger(flag))
    throw new ProtocolError('a header without its numbers')
  const fields: Record<string, string> = {}
  if (typeof extFields === 'object' && extFields !== null)
    for (const [name, value] of Object.entries(extFields)) if (value !== null) fields[name] = String(value)
  return {
    code: code as number,
    opaque: opaque as number,
    isAnswer: ((flag as number) & 1) === 1,
    remark: typeof remark === 'string' ? remark : '',
    fields,
    body: frame.subarray(headerEnd),
  }
}

/** What fastjson writes is no JSON: the keys of its maps may be bare numbers. @throws ProtocolError */
export function looseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString().replace(/([{,])\s*(\d+)\s*:/g, '$1"$2":'))
  } catch (error) {
    throw new ProtocolError('an answer that is no JSON', { cause: error })
  }
}
