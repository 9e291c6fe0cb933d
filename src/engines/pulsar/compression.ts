// It has no types of its own, nor others.
/// <reference path="../untyped.d.ts" />
import { deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { BusError } from '../../errors.ts'
import { loadOptional } from '../optional.ts'
import { loadSnappy, type Snappy } from '../snappy.ts'

/** By the number on the wire. */
const kinds = ['none', 'lz4', 'zlib', 'zstd', 'snappy'] as const
/** No entry of a broker becomes larger: what says so of itself is broken, or means harm. */
const mostBytes = 256 * 1024 * 1024
export type Compression = (typeof kinds)[number]

interface Lz4 {
  compressBound(size: number): number
  compressBlock(from: Uint8Array, to: Uint8Array, at: number, size: number, table: Uint32Array): number
  decompressBlock(from: Uint8Array, to: Uint8Array, at: number, size: number, toAt: number): number
}

let lz4: Lz4 | undefined
let snappy: Snappy | undefined
const readyLz4 = async (): Promise<unknown> =>
  (lz4 ??= await loadOptional<Lz4>('Pulsar', 'lz4js', () => import('lz4js'), 'npm install lz4js'))
const readySnappy = async (): Promise<unknown> => (snappy ??= await loadSnappy('Pulsar', 'npm install snappyjs'))

/** Zstandard is in Node itself from 22.15 on. @throws BusError `engine_missing`, `unsupported` */
export async function readyFor(compression: Compression): Promise<void> {
  if (compression === 'lz4') await readyLz4()
  if (compression === 'snappy') await readySnappy()
  if (compression === 'zstd' && typeof zstdCompressSync !== 'function')
    throw new BusError('unsupported', `Node ${process.version} has no zstd: use 22.15 or later, or pulsar.compression: 'lz4'`)
}

/** What there is of the packages that reading may need; what is missing is told once it is needed. */
export async function readyForAll(): Promise<void> {
  await Promise.allSettled([readyLz4(), readySnappy()])
}

/** The bytes and their kind on the wire; as they are where that makes them no smaller. */
export function compress(bytes: Uint8Array, compression: Compression): { readonly kind: number; readonly bytes: Uint8Array } {
  const packed = pack(bytes, compression)
  return packed === undefined || packed.byteLength >= bytes.byteLength
    ? { kind: 0, bytes }
    : { kind: kinds.indexOf(compression), bytes: packed }
}

function pack(bytes: Uint8Array, compression: Compression): Uint8Array | undefined {
  switch (compression) {
    case 'lz4': {
      const to = new Uint8Array(lz4!.compressBound(bytes.byteLength))
      const size = lz4!.compressBlock(bytes, to, 0, bytes.byteLength, new Uint32Array(65_536))
      return size > 0 ? to.subarray(0, size) : undefined
    }
    case 'zlib':
      return deflateSync(bytes)
    case 'zstd':
      return zstdCompressSync(bytes)
    default:
      return undefined
  }
}

/** @throws BusError `invalid_message` for what is no such thing, or larger than it says */
export function decompress(bytes: Buffer, kind: number, size: number): Buffer {
  if (kind === 0) return bytes
  try {
    if (size > mostBytes) throw new Error(`${size} bytes`)
    const whole = unpack(bytes, kind, size)
    if (whole.byteLength === size) return whole
    throw new Error(`${whole.byteLength} bytes instead of ${size}`)
  } catch (error) {
    if (error instanceof BusError) throw error
    throw new BusError('invalid_message', `a message cannot be decompressed (${kinds[kind] ?? kind}): ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function unpack(bytes: Buffer, kind: number, size: number): Buffer {
  switch (kinds[kind]) {
    case 'lz4': {
      if (!lz4) throw new BusError('engine_missing', 'a message is compressed with LZ4: npm install lz4js')
      const to = Buffer.alloc(size)
      // It goes on past the end and tells how far it would have come.
      const length = lz4.decompressBlock(bytes, to, 0, bytes.length, 0)
      if (length !== size) throw new Error(`${length} bytes instead of ${size}`)
      return to
    }
    case 'zlib':
      return inflateSync(bytes, { maxOutputLength: Math.max(1, size) })
    case 'zstd':
      if (typeof zstdDecompressSync !== 'function')
        throw new BusError('unsupported', `Node ${process.version} has no zstd: use 22.15 or later`)
      return zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, size) })
    case 'snappy': {
      if (!snappy) throw new BusError('engine_missing', 'a message is compressed with Snappy: npm install snappyjs')
      return Buffer.from(snappy.unpack(bytes, size))
    }
    default:
      throw new Error('an unknown kind')
  }
}
