// Nor has anybody else types for it.
/// <reference path="./untyped.d.ts" />
import { loadOptional } from './optional.ts'

interface Library {
  compress(bytes: Uint8Array): Uint8Array
  uncompress(bytes: Uint8Array, most?: number): Uint8Array
}

/** Blocks of Snappy. */
export interface Snappy {
  pack(bytes: Uint8Array): Uint8Array
  /** @throws Error for what is none, or becomes more than so many bytes */
  unpack(bytes: Buffer, most: number): Uint8Array
}

/** @throws BusError `engine_missing` */
export async function loadSnappy(needer: string, install: string): Promise<Snappy> {
  const library = await loadOptional<Library>(needer, 'snappyjs', () => import('snappyjs'), install)
  return {
    pack: (bytes) => library.compress(bytes),
    unpack(bytes, most) {
      mustGoForward(bytes)
      return library.uncompress(bytes, most)
    },
  }
}

/** Of Snappy's literals, whose lengths snappyjs takes with a sign: at one that is less than nothing it goes back, for ever. */
function mustGoForward(bytes: Buffer): void {
  let at = 0
  while (bytes[at++]! >= 128);
  while (at < bytes.length) {
    const tag = bytes[at++]!
    const kind = tag & 3
    if (kind !== 0) {
      at += kind === 3 ? 4 : kind
      continue
    }
    let length = (tag >>> 2) + 1
    if (length > 60) {
      const width = length - 60
      if (at + width > bytes.length) return
      length = bytes.readUIntLE(at, width) + 1
      at += width
    }
    at += length
    if (at > bytes.length) throw new Error('a literal goes beyond its end')
  }
}
