// The checksum has no types of its own.
/// <reference path="../untyped.d.ts" />
import { Transform, type TransformCallback } from 'node:stream'
import { loadOptional } from '../optional.ts'
import { loadSnappy, type Snappy } from '../snappy.ts'

type Crc32c = (bytes: Uint8Array) => number

const install = 'npm install snappyjs crc-32'

/** https://github.com/google/snappy/blob/main/framing_format.txt: chunks of `u8 kind · u24 length · bytes`, little-endian. */
const kinds = { compressed: 0x00, plain: 0x01, lastOfUnknown: 0x7f, beginning: 0xff } as const
const greeting = Buffer.from([kinds.beginning, 6, 0, 0, ...Buffer.from('sNaPpY')])
/** Of what a chunk becomes. */
const mostBytes = 65_536
const sumBytes = 4

/** @throws BusError `engine_missing` */
export async function snappyStreams(): Promise<{ readonly packs: Transform; readonly unpacks: Transform }> {
  const snappy = await loadSnappy('nsq.snappy', install)
  const { buf } = await loadOptional<{ buf: Crc32c }>('nsq.snappy', 'crc-32', () => import('crc-32/crc32c.js'), install)
  return { packs: new Packs(snappy, buf), unpacks: new Unpacks(snappy, buf) }
}

const masked = (sum: number): number => ((((sum >>> 15) | (sum << 17)) >>> 0) + 0xa282_ead8) >>> 0

class Packs extends Transform {
  readonly #snappy: Snappy
  readonly #crc32c: Crc32c
  #begun = false

  constructor(snappy: Snappy, crc32c: Crc32c) {
    super()
    this.#snappy = snappy
    this.#crc32c = crc32c
  }

  /** What was written in one turn is packed as one. */
  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: TransformCallback): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'buffer' as BufferEncoding, done)
  }

  override _transform(bytes: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    if (!this.#begun) this.push(greeting)
    this.#begun = true
    for (let at = 0; at < bytes.length; at += mostBytes) this.#chunk(bytes.subarray(at, at + mostBytes))
    done()
  }

  #chunk(bytes: Buffer): void {
    const packed = this.#snappy.pack(bytes)
    const isSmaller = packed.byteLength < bytes.length
    const body = isSmaller ? packed : bytes
    const head = Buffer.alloc(4 + sumBytes)
    head.writeUInt8(isSmaller ? kinds.compressed : kinds.plain, 0)
    head.writeUIntLE(sumBytes + body.byteLength, 1, 3)
    head.writeUInt32LE(masked(this.#crc32c(bytes)), 4)
    this.push(head)
    this.push(body)
  }
}

class Unpacks extends Transform {
  readonly #snappy: Snappy
  readonly #crc32c: Crc32c
  #rest = Buffer.alloc(0)

  constructor(snappy: Snappy, crc32c: Crc32c) {
    super()
    this.#snappy = snappy
    this.#crc32c = crc32c
  }

  override _transform(bytes: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    try {
      while (rest.length >= 4) {
        const end = 4 + rest.readUIntLE(1, 3)
        if (rest.length < end) break
        this.#chunk(rest[0]!, rest.subarray(4, end))
        rest = rest.subarray(end)
      }
      this.#rest = Buffer.from(rest)
      done()
    } catch (error) {
      done(new Error(`what nsqd sends is no Snappy stream: ${(error as Error).message}`, { cause: error }))
    }
  }

  #chunk(kind: number, body: Buffer): void {
    if (kind > kinds.plain) {
      // What is to be passed over, and the beginning of another stream in this one.
      if (kind > kinds.lastOfUnknown) return
      throw new Error(`a chunk of kind ${kind}`)
    }
    const packed = body.subarray(sumBytes)
    const bytes = kind === kinds.compressed ? this.#snappy.unpack(packed, mostBytes) : packed
    if (masked(this.#crc32c(bytes)) !== body.readUInt32LE(0)) throw new Error('a checksum does not fit')
    this.push(bytes)
  }
}
