import { BusError } from '../../errors.ts'
import type { Headers } from '../../message/headers.ts'
import { textOf } from '../../message/text.ts'
import { wire } from '../../message/wire.ts'
import type { Outgoing, Stored } from '../engine.ts'
import { type Compression, compress, decompress } from './compression.ts'
import { type Codec, type MessageId, type Metadata, numberOf, ProtocolError, type Single } from './protocol.ts'

/** The id under which it was sent, where a replay's own id stands in {@link wire.id}. */
const idProperty = 'cozebus-message-id'
/** The full name, where it is not the topic's. */
const nameProperty = 'cozebus-name'

/** The metadata of a message on its way out, and its bytes. */
export function encodeMessage(message: Outgoing, compression: Compression): { readonly metadata: object; readonly payload: Uint8Array } {
  const properties = [{ key: idProperty, value: message.id }]
  if (message.name !== message.storage) properties.push({ key: nameProperty, value: message.name })
  for (const name in message.headers) properties.push({ key: name, value: message.headers[name]! })
  const { kind, bytes } = compress(message.body, compression)
  return {
    payload: bytes,
    metadata: {
      publish_time: Math.round(message.at),
      properties,
      ...(message.key === undefined ? {} : { partition_key: message.key }),
      ...(kind === 0 ? {} : { compression: kind, uncompressed_size: message.body.byteLength }),
      ...(message.deliverAt === undefined ? {} : { deliver_at_time: Math.ceil(message.deliverAt) }),
    },
  }
}

/** One message of an entry. */
export interface Come {
  readonly id: MessageId
  readonly stored: Stored
  /** Not before this time, ms since the epoch; 0: at once. */
  readonly due: number
}

/** An entry that nothing can be made of; it is left where it is. */
export class EntryError extends ProtocolError {
  /** Messages in it, as the broker counts them. */
  readonly count: number
  /** Something is missing here, and whoever has it can read it. */
  readonly missing: boolean

  constructor(message: string, count: number, missing: boolean) {
    super(message)
    this.count = count
    this.missing = missing
  }
}

/**
 * The messages of an entry; undefined in a place of a batch for what was compacted away. What cannot be decompressed goes on as it
 * is, as one message: whoever decodes it finds out, and it ends as a dead letter with its bytes.
 * @throws EntryError where it is broken, or a package is missing that reads it
 */
export function decodeEntry(
  codec: Codec,
  rest: Buffer,
  id: MessageId,
  storage: string,
): { readonly count: number; readonly messages: (Come | undefined)[] } {
  let count = 1
  try {
    const { metadata, payload } = codec.decodeMessage(rest)
    // Marks of transactions and replication are nobody's.
    if (metadata.marker_type !== undefined) return { count, messages: [] }
    const inBatch = metadata.num_messages_in_batch
    if (inBatch !== undefined && inBatch < 1) throw new ProtocolError(`a batch of ${inBatch} messages`)
    count = inBatch ?? 1
    const chunks = metadata.num_chunks_from_msg ?? 0
    const plain = chunks > 1 || (metadata.encryption_keys?.length ?? 0) > 0 ? undefined : unpacked(payload, metadata)
    if (inBatch === undefined || plain === undefined) {
      const note: Headers | undefined = plain === undefined ? { [wire.unreadable]: unreadable(metadata, chunks) } : undefined
      return { count, messages: [come(metadata, metadata, plain ?? payload, id, storage, note)] }
    }
    const messages = codec
      .decodeBatch(plain, count)
      .map(({ single, body }, batch) => (single.compacted_out ? undefined : come(single, metadata, body, { ...id, batch }, storage)))
    return { count, messages }
  } catch (error) {
    if (error instanceof ProtocolError) throw new EntryError(error.message, count, false)
    if (error instanceof BusError) throw new EntryError(error.message, count, true)
    throw error
  }
}

function unreadable({ compression }: Metadata, chunks: number): string {
  if (chunks > 1) return `one of ${chunks} chunks of a message: turn chunking off at its producer`
  return compression ? 'encrypted, or compressed in a way that cannot be read here' : 'encrypted'
}

function unpacked(payload: Buffer, { compression = 0, uncompressed_size: size = 0 }: Metadata): Buffer | undefined {
  try {
    return decompress(payload, compression, size)
  } catch (error) {
    // What is broken is so for all.
    if (error instanceof BusError && error.code === 'invalid_message') return undefined
    throw error
  }
}

/** A message of anybody's: without a property of ours its id is its place. */
function come(
  own: Metadata | Single,
  { publish_time, deliver_at_time = 0 }: Metadata,
  body: Buffer,
  id: MessageId,
  storage: string,
  note?: Headers,
): Come {
  let given: string | undefined
  let name: string | undefined
  let headers: Record<string, string> | undefined = note && { ...note }
  let at = numberOf(publish_time)
  for (const { key, value } of own.properties) {
    if (key === idProperty) given = value
    else if (key === nameProperty) name = value
    else {
      if (key === wire.publishedAt && value !== '' && Number.isFinite(Number(value))) at = Number(value)
      ;(headers ??= {})[key] = value
    }
  }
  const key =
    own.partition_key_b64_encoded && own.partition_key !== undefined ? textOf(Buffer.from(own.partition_key, 'base64')) : own.partition_key
  const position = positionOf(id)
  const stored: Stored = {
    storage,
    name: name ?? storage,
    id: given ?? `${storage}:${position}`,
    key: key === '' ? undefined : key,
    headers: headers as Headers | undefined,
    body,
    at,
    position,
  }
  return { id, stored, due: numberOf(deliver_at_time) }
}

export const positionOf = ({ ledger, entry, partition, batch }: MessageId): string => `${ledger}:${entry}:${partition}:${batch}`
