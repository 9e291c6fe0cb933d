import { BusError } from '../../errors.ts'

/** What encodes Pulsar's commands, and the checksum of its messages. */
export interface Libraries {
  readonly protobuf: typeof import('protobufjs')
  readonly crc32c: (bytes: Uint8Array, seed?: number) => number
}

const needed = 'npm install protobufjs crc-32'

/** @throws BusError `engine_missing` */
export async function loadLibraries(): Promise<Libraries> {
  const protobuf = await load<typeof import('protobufjs')>('protobufjs', () => import('protobufjs'), needed)
  const { buf } = await load<{ buf: Libraries['crc32c'] }>('crc-32', () => import('crc-32/crc32c.js'), needed)
  return { protobuf, crc32c: buf }
}

/** The module, or its default where it is CommonJS. @throws BusError `engine_missing` */
export async function load<T>(name: string, importing: () => Promise<unknown>, install: string): Promise<T> {
  try {
    const loaded = (await importing()) as { default?: T }
    return loaded.default ?? (loaded as T)
  } catch (error) {
    if (!['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes((error as { code?: string }).code ?? '')) throw error
    throw new BusError('engine_missing', `Pulsar needs the package ${name}, which is not installed: ${install}`, { cause: error })
  }
}
