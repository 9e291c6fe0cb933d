import type { Type } from 'protobufjs'
import type { Libraries } from './client.ts'
import { type Command, commands, schema } from './schema.ts'

/** https://pulsar.apache.org/docs/next/developing-binary-protocol/: what is refused closes the connection. */
export class ProtocolError extends Error {}

/** As protobufjs gives a 64-bit integer. */
export interface Long {
  readonly low: number
  readonly high: number
}

/** A message's place: its entry, and which one of the entry's batch; -1: it is alone in it. */
export interface MessageId {
  readonly ledger: number
  readonly entry: number
  readonly partition: number
  readonly batch: number
}

/** A decoded command: fields as in schema.ts, absent ones undefined. */
export type Fields = Readonly<Record<string, unknown>>
export interface Frame {
  readonly command: Command
  readonly fields: Fields
  /** What stands behind the command: a message with its metadata. */
  readonly rest: Buffer
}

/** What comes with a message. */
export interface Metadata {
  readonly properties: readonly { readonly key: string; readonly value: string }[]
  readonly partition_key?: string
  readonly partition_key_b64_encoded?: boolean
  readonly publish_time: Long | number
  readonly compression?: number
  readonly uncompressed_size?: number
  readonly num_messages_in_batch?: number
  readonly encryption_keys?: readonly unknown[]
  readonly marker_type?: number
  readonly deliver_at_time?: Long | number
  readonly num_chunks_from_msg?: number
}

/** One of a batch. */
export interface Single {
  readonly properties: readonly { readonly key: string; readonly value: string }[]
  readonly partition_key?: string
  readonly partition_key_b64_encoded?: boolean
  readonly payload_size: number
  readonly compacted_out?: boolean
}

const checksummed = 0x0e01
const brokerEntry = 0x0e02
const names = new Map<number, Command>(Object.entries(commands).map(([name, type]) => [type, name as Command]))

export const numberOf = (value: unknown): number => {
  if (typeof value === 'number') return value
  const { low, high } = value as Long
  return high * 2 ** 32 + (low >>> 0)
}

/** Frames: `u32 length · u32 length of the command · command`, and for messages `u16 0x0e01 · u32 CRC32C · u32 length of the metadata · metadata · payload`. */
export class Codec {
  readonly #base: Type
  readonly #metadata: Type
  readonly #single: Type
  readonly #crc32c: Libraries['crc32c']

  constructor({ protobuf, crc32c }: Libraries) {
    const root = protobuf.parse(schema, { keepCase: true }).root
    this.#base = root.lookupType('Base')
    this.#metadata = root.lookupType('Metadata')
    this.#single = root.lookupType('Single')
    this.#crc32c = crc32c
  }

  encode(command: Command, fields: object): Buffer {
    const bytes = this.#base.encode({ type: commands[command], [command]: fields }).finish()
    const frame = Buffer.allocUnsafe(8 + bytes.length)
    frame.writeUInt32BE(4 + bytes.length, 0)
    frame.writeUInt32BE(bytes.length, 4)
    frame.set(bytes, 8)
    return frame
  }

  encodeMetadata(metadata: object): Uint8Array {
    return this.#metadata.encode(metadata).finish()
  }

  /** A message on its way out, as bytes that follow each other. The payload is not copied. */
  encodeSend(fields: object, metadata: Uint8Array, payload: Uint8Array): [Buffer, Uint8Array] {
    const command = this.#base.encode({ type: commands.send, send: fields }).finish()
    const head = Buffer.allocUnsafe(18 + command.length + metadata.length)
    head.writeUInt32BE(14 + command.length + metadata.length + payload.byteLength, 0)
    head.writeUInt32BE(command.length, 4)
    head.set(command, 8)
    let at = 8 + command.length
    at = head.writeUInt16BE(checksummed, at)
    const sum = at
    at = head.writeUInt32BE(metadata.length, at + 4)
    head.set(metadata, at)
    head.writeInt32BE(this.#crc32c(payload, this.#crc32c(head.subarray(sum + 4))), sum)
    return [head, payload]
  }

  /** @throws ProtocolError */
  decode(frame: Buffer): Frame | undefined {
    const length = frame.length >= 4 ? frame.readUInt32BE(0) : -1
    if (length < 0 || 4 + length > frame.length) throw new ProtocolError(`a frame of ${frame.length} bytes has a command of ${length}`)
    let base: Record<string, unknown>
    try {
      base = this.#base.decode(frame.subarray(4, 4 + length)) as unknown as Record<string, unknown>
    } catch (error) {
      throw new ProtocolError(`a command that is none: ${(error as Error).message}`)
    }
    const command = names.get(base['type'] as number)
    // What newer brokers say beside is of no use here.
    if (command === undefined) return undefined
    const fields = base[command] as Fields | undefined
    if (!fields && command !== 'ping' && command !== 'pong') throw new ProtocolError(`a command '${command}' without its fields`)
    return { command, fields: fields ?? {}, rest: frame.subarray(4 + length) }
  }

  /** @throws ProtocolError also for a checksum that does not fit */
  decodeMessage(rest: Buffer): { readonly metadata: Metadata; readonly payload: Buffer } {
    try {
      let at = 0
      if (rest.readUInt16BE(0) === brokerEntry) at = 6 + rest.readUInt32BE(2)
      if (rest.readUInt16BE(at) === checksummed) {
        if (this.#crc32c(rest.subarray(at + 6)) >>> 0 !== rest.readUInt32BE(at + 2)) throw new Error('its checksum does not fit')
        at += 6
      }
      const length = rest.readUInt32BE(at)
      if (at + 4 + length > rest.length) throw new Error('its metadata goes beyond it')
      const metadata = this.#metadata.decode(rest.subarray(at + 4, at + 4 + length))
      return { metadata: own(metadata) as Metadata, payload: rest.subarray(at + 4 + length) }
    } catch (error) {
      throw new ProtocolError(`a message that is none: ${(error as Error).message}`)
    }
  }

  /** Those of a batch, in their order. @throws ProtocolError */
  decodeBatch(payload: Buffer, count: number): { readonly single: Single; readonly body: Buffer }[] {
    const all = []
    try {
      for (let at = 0, i = 0; i < count; i++) {
        const length = payload.readUInt32BE(at)
        const single = own(this.#single.decode(payload.subarray(at + 4, at + 4 + length))) as Single
        at += 4 + length
        if (single.payload_size < 0 || at + single.payload_size > payload.length) throw new Error('a message goes beyond its batch')
        all.push({ single, body: payload.subarray(at, at + single.payload_size) })
        at += single.payload_size
      }
    } catch (error) {
      throw new ProtocolError(`a batch that is none: ${(error as Error).message}`)
    }
    return all
  }
}

/** Without the defaults that protobufjs has on its prototypes: an absent field is undefined, an absent list is empty. */
function own(message: object): object {
  const { properties } = message as { properties: unknown }
  return { ...message, properties }
}

/** Cuts what a socket brings into frames. */
export class FrameParser {
  readonly #most: number
  readonly #take: (frame: Buffer) => void
  #chunks: Buffer[] = []
  #size = 0
  #wanted = 4
  #failed = false

  constructor(mostBytes: number, take: (frame: Buffer) => void) {
    this.#most = mostBytes
    this.#take = take
  }

  /** @throws ProtocolError */
  push(chunk: Buffer): void {
    if (this.#failed) return
    try {
      this.#push(chunk)
    } catch (error) {
      // Where the next frame begins nobody knows, and those before it have been taken.
      this.#failed = true
      this.#chunks = []
      throw error
    }
  }

  #push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#size < this.#wanted) return
    let all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#size)
    this.#wanted = 4
    while (all.length >= 4) {
      const length = all.readUInt32BE(0)
      if (length < 4 || length > this.#most) throw new ProtocolError(`a frame of ${length} bytes`)
      this.#wanted = 4 + length
      if (all.length < this.#wanted) break
      this.#take(all.subarray(4, this.#wanted))
      all = all.subarray(this.#wanted)
      this.#wanted = 4
    }
    this.#chunks = all.length > 0 ? [all] : []
    this.#size = all.length
  }
}

/** @throws ProtocolError */
export function messageIdOf(fields: unknown): MessageId {
  if (!fields) throw new ProtocolError('a message without its id')
  const { ledgerId, entryId, partition, batch_index } = fields as Record<string, unknown>
  return {
    ledger: numberOf(ledgerId),
    entry: numberOf(entryId),
    partition: Object.hasOwn(fields as object, 'partition') ? (partition as number) : -1,
    batch: Object.hasOwn(fields as object, 'batch_index') ? (batch_index as number) : -1,
  }
}

/** As the wire has it; the entry alone. */
export const wireId = ({ ledger, entry, partition }: MessageId): object => ({
  ledgerId: ledger,
  entryId: entry,
  ...(partition >= 0 ? { partition } : {}),
})
