import type { Headers } from './headers.ts'

/**
 * Id, name, key and headers in front of the body, for brokers whose messages are bytes and nothing else:
 * the bytes `CZB1`, the length of a JSON text as 32 bits (big endian), the text, the body.
 */
export interface Envelope {
  readonly name: string
  readonly id: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly at: number
}

const magic = Buffer.from('CZB1')

export function wrap(envelope: Envelope, body: Uint8Array): Uint8Array {
  const { name, id, key, headers, at } = envelope
  const text = Buffer.from(JSON.stringify({ name, id, key, headers, at }))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([magic, length, text, body])
}

/** Undefined for bytes that are no envelope of ours: a foreign producer's body. */
export function unwrap(bytes: Uint8Array): { envelope: Envelope; body: Uint8Array } | undefined {
  if (bytes.length < 8 || bytes[0] !== 0x43 || bytes[1] !== 0x5a || bytes[2] !== 0x42 || bytes[3] !== 0x31) return undefined
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = 8 + view.readUInt32BE(4)
  if (end > view.length) return undefined
  try {
    const envelope = JSON.parse(view.toString('utf8', 8, end)) as Envelope
    return typeof envelope.id === 'string' && typeof envelope.name === 'string' ? { envelope, body: bytes.subarray(end) } : undefined
  } catch {
    return undefined
  }
}
