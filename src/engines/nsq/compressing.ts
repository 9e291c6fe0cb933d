import type { Duplex } from 'node:stream'
import { constants, createDeflateRaw, createInflateRaw } from 'node:zlib'
import type { NsqOptions } from './options.ts'
import { snappyStreams } from './snappy.ts'

export type Compression = 'deflate' | 'snappy'

/** What is said to nsqd goes through one stream, and what it says through the other. */
export interface Compressing {
  readonly packs: Duplex
  readonly unpacks: Duplex
  /** What was written so far goes out. */
  flush(): void
}

export function compressionOf({ deflate = false, snappy = false }: NsqOptions): Compression | undefined {
  return snappy ? 'snappy' : deflate === false ? undefined : 'deflate'
}

/** @throws BusError `engine_missing` */
export async function compressing(compression: Compression, { deflate }: NsqOptions): Promise<Compressing> {
  // Each write is a chunk of its own.
  if (compression === 'snappy') return { ...(await snappyStreams()), flush: () => {} }
  const packs = createDeflateRaw(typeof deflate === 'number' ? { level: deflate } : {})
  return { packs, unpacks: createInflateRaw(), flush: () => packs.flush(constants.Z_SYNC_FLUSH) }
}
