// The checksum has no types of its own.
/// <reference path="../untyped.d.ts" />
import { loadOptional } from '../optional.ts'

/** What encodes Pulsar's commands, and the checksum of its messages. */
export interface Libraries {
  readonly protobuf: typeof import('protobufjs')
  readonly crc32c: (bytes: Uint8Array, seed?: number) => number
}

const needed = 'npm install protobufjs crc-32'

/** @throws BusError `engine_missing` */
export async function loadLibraries(): Promise<Libraries> {
  const protobuf = await loadOptional<typeof import('protobufjs')>('Pulsar', 'protobufjs', () => import('protobufjs'), needed)
  const { buf } = await loadOptional<{ buf: Libraries['crc32c'] }>('Pulsar', 'crc-32', () => import('crc-32/crc32c.js'), needed)
  return { protobuf, crc32c: buf }
}
