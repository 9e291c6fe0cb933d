import { BusError } from '../../errors.ts'
import { textOf } from '../../message/text.ts'
import type { Identity } from './lane.ts'
import type { Read, Sending } from './records.ts'

// A batch of records as it lies on the wire and in the log (version 2), to and from one piece of memory. The client's own
// way makes some fifteen small buffers a record, each way; this one was measured at a fifth of its processor time or less.

/** What the client says of one way to compress. */
export interface Codec {
  readonly bitmask: number
  compress?(records: Buffer): Promise<Buffer>
  compressSync(records: Buffer): Buffer
  decompressSync(records: Buffer): Buffer
}

export interface Batch {
  readonly firstOffset: number
  readonly attributes: number
  readonly producerId: bigint
  readonly lastOffsetDelta: number
  readonly records: readonly Read[]
}

const version = 2
/** Offset and length, which the length does not count. */
const outerBytes = 12
const headBytes = 61
/** What the checksum covers begins here. */
const checkedFrom = 21
const compressed = 0b111
const appendTime = 1 << 3
/** The most that lengths and counts of one record take. */
const recordRoom = 40
const cutOff = 'a batch ends before its records do'

// ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** `bytes`: at most so many in keys, values and headers. Without a codec nothing is compressed. */
export function encodeBatch(
  records: readonly Sending[],
  bytes: number,
  { producerId, producerEpoch }: Identity,
  sequence: number,
  checksum: (bytes: Buffer) => number,
  codec?: Codec,
): Buffer | Promise<Buffer> {
  const out = new Out(headBytes + bytes + records.length * recordRoom)
  const first = records[0]!.timestamp
  let newest = first
  for (let i = 0; i < records.length; i++) {
    const record = records[i]!
    if (record.timestamp > newest) newest = record.timestamp
    out.record(record, i, record.timestamp - first)
  }
  const framed = (batch: Buffer, attributes: number): Buffer => {
    batch.writeBigInt64BE(0n, 0)
    batch.writeInt32BE(batch.length - outerBytes, 8)
    batch.writeInt32BE(0, 12)
    batch.writeInt8(version, 16)
    batch.writeInt16BE(attributes, 21)
    batch.writeInt32BE(records.length - 1, 23)
    batch.writeBigInt64BE(BigInt(first), 27)
    batch.writeBigInt64BE(BigInt(newest), 35)
    batch.writeBigInt64BE(producerId, 43)
    batch.writeInt16BE(producerEpoch, 51)
    batch.writeInt32BE(sequence, 53)
    batch.writeInt32BE(records.length, 57)
    batch.writeUInt32BE(checksum(batch.subarray(checkedFrom)), 17)
    return batch
  }
  const batch = out.bytes.subarray(0, out.at)
  if (codec === undefined) return framed(batch, 0)
  const plain = batch.subarray(headBytes)
  const pack = (packed: Buffer): Buffer => framed(Buffer.concat([batch.subarray(0, headBytes), packed]), codec.bitmask)
  return codec.compress ? codec.compress(plain).then(pack) : pack(codec.compressSync(plain))
}

class Out {
  readonly bytes: Buffer
  at = headBytes

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafe(size)
  }

  record({ key, value, headers }: Sending, offsetDelta: number, timestampDelta: number): void {
    // Its length goes before it, and is known after it: room for two bytes of it is left, as most need, and mended where they do not.
    const begin = this.at
    this.at += 2
    this.bytes[this.at++] = 0
    this.varint(timestampDelta)
    this.varint(offsetDelta)
    this.some(key)
    this.some(value)
    this.varint(headers.length / 2)
    for (let i = 0; i < headers.length; i++) this.text(headers[i]!)
    const length = this.at - begin - 2
    const room = lengthOfVarint(length)
    if (room !== 2) this.bytes.copyWithin(begin + room, begin + 2, this.at)
    this.at = begin
    this.varint(length)
    this.at += length
  }

  varint(value: number): void {
    // Zigzag: the sign is the lowest bit.
    let left = value < 0 ? -2 * value - 1 : 2 * value
    while (left >= 0x80) {
      this.bytes[this.at++] = (left % 0x80) | 0x80
      left = Math.floor(left / 0x80)
    }
    this.bytes[this.at++] = left
  }

  some(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) {
      this.varint(-1)
      return
    }
    this.varint(bytes.byteLength)
    this.bytes.set(bytes, this.at)
    this.at += bytes.byteLength
  }

  text(text: string): void {
    const begin = this.at
    this.varint(text.length)
    const { bytes } = this
    let { at } = this
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) {
        this.at = begin
        this.some(Buffer.from(text))
        return
      }
      bytes[at++] = code
    }
    this.at = at
  }
}

function lengthOfVarint(value: number): number {
  let length = 1
  for (let left = 2 * value; left >= 0x80; left = Math.floor(left / 0x80)) length++
  return length
}

// ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * All the batches that are whole; the last one of an answer may be cut. What is read of them keeps no more in the memory than the
 * piece it came in: pieces are not joined, but for a record that lies in two.
 * @throws where the first cannot be read; where another cannot, those before it are returned, and the next question begins with it
 */
export function decodeBatches(pieces: readonly Buffer[], codecs: Readonly<Record<string, Codec>>): Batch[] {
  const batches: Batch[] = []
  const all = new In(pieces)
  try {
    for (let batch = nextBatch(all, codecs); batch; batch = nextBatch(all, codecs)) batches.push(batch)
  } catch (error) {
    if (batches.length === 0) throw error
  }
  return batches
}

function nextBatch(all: In, codecs: Readonly<Record<string, Codec>>): Batch | undefined {
  if (all.left < headBytes) return undefined
  const outer = all.take(outerBytes)
  const length = outer.readInt32BE(8)
  if (all.left < length) return undefined
  const firstOffset = Number(outer.readBigInt64BE(0))
  const head = all.take(headBytes - outerBytes)
  if (head[4] !== version)
    throw new BusError('unsupported', `a batch of version ${head[4]}, as Kafka wrote them before 0.11, or one that is no batch at all`)
  const attributes = head.readInt16BE(9)
  const firstTimestamp = Number(head.readBigInt64BE(15))
  const maxTimestamp = Number(head.readBigInt64BE(23))
  const count = head.readInt32BE(45)
  let own = all
  if (attributes & compressed) {
    const codec = codecs[attributes & compressed]
    if (codec === undefined)
      throw new BusError('unsupported', `a batch is compressed in a way that is not known (${attributes & compressed})`)
    own = new In([codec.decompressSync(all.take(length - headBytes + outerBytes))])
  }
  const records: Read[] = new Array(count)
  for (let i = 0; i < count; i++) records[i] = own.record(firstOffset, firstTimestamp, attributes & appendTime ? maxTimestamp : undefined)
  return { firstOffset, attributes, producerId: head.readBigInt64BE(31), lastOffsetDelta: head.readInt32BE(11), records }
}

/** By length: the text of nothing but ASCII that was read last. Names of headers and what kind a body is are the same again and again, and dear to make. */
const lastOf: (string | undefined)[] = []
const mostKept = 64

function stands(text: string, bytes: Buffer, begin: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[begin + i]) return false
  return true
}

class In {
  readonly #pieces: readonly Buffer[]
  #next = 0
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  /** Bytes to come. */
  left = 0

  constructor(pieces: readonly Buffer[]) {
    this.#pieces = pieces
    for (const { length } of pieces) this.left += length
  }

  #turn(): void {
    while (this.#at === this.#bytes.length && this.#next < this.#pieces.length) {
      this.#bytes = this.#pieces[this.#next++]!
      this.#at = 0
    }
  }

  take(size: number): Buffer {
    if (size > this.left) throw new Error(cutOff)
    this.#turn()
    this.left -= size
    if (size <= this.#bytes.length - this.#at) {
      this.#at += size
      return this.#bytes.subarray(this.#at - size, this.#at)
    }
    const taken = Buffer.allocUnsafeSlow(size)
    for (let done = 0; done < size; ) {
      this.#turn()
      const part = Math.min(size - done, this.#bytes.length - this.#at)
      this.#bytes.copy(taken, done, this.#at, this.#at + part)
      this.#at += part
      done += part
    }
    return taken
  }

  #length(): number {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      this.#turn()
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) throw new Error(cutOff)
      this.left--
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value / 2
    }
  }

  record(firstOffset: number, firstTimestamp: number, appendedAt: number | undefined): Read {
    const size = this.#length()
    this.#turn()
    if (size > this.#bytes.length - this.#at) {
      const alone = new In([this.take(size)])
      alone.#turn()
      return alone.#fields(firstOffset, firstTimestamp, appendedAt, size)
    }
    const end = this.#at + size
    const record = this.#fields(firstOffset, firstTimestamp, appendedAt, size)
    this.#at = end
    this.left -= size
    return record
  }

  /** Of a record that lies in one piece. */
  #fields(firstOffset: number, firstTimestamp: number, appendedAt: number | undefined, size: number): Read {
    this.#at++ // attributes, of which there are none
    const timestampMs = firstTimestamp + this.#varint()
    const offset = firstOffset + this.#varint()
    const key = this.#some()
    const value = this.#some()
    const headers: string[] = []
    for (let left = 2 * this.#varint(); left > 0; left--) headers.push(this.#text())
    return { offset, timestampMs: appendedAt ?? timestampMs, key, value, headers, size }
  }

  #varint(): number {
    let byte = this.#bytes[this.#at++]!
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let value = byte & 0x7f
    for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
      byte = this.#bytes[this.#at++]!
      value += (byte & 0x7f) * scale
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  #some(): Buffer | null {
    const length = this.#varint()
    if (length < 0) return null
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  #text(): string {
    const length = this.#varint()
    if (length <= 0) return ''
    const begin = this.#at
    this.#at += length
    const last = lastOf[length]
    if (last !== undefined && stands(last, this.#bytes, begin)) return last
    const text = textOf(this.#bytes, begin, this.#at)
    if (text.length === length && length < mostKept) lastOf[length] = text
    return text
  }
}
