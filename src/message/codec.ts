import { BusError } from '../errors.ts'
import type { Headers } from './headers.ts'

/** Turns bodies into bytes and back. */
export interface Codec {
  /** What the bytes are, as a media type. */
  readonly contentType: string
  encode(body: unknown): Uint8Array
  decode(bytes: Uint8Array): unknown
}

const encoder = new TextEncoder()
const strict = new TextDecoder('utf-8', { fatal: true })

/**
 * JSON in UTF-8. A `Uint8Array` passes through untouched on the way out.
 * Decoding throws on bytes that are not UTF-8 or not JSON, which sends the message to the dead letters.
 */
export const jsonCodec: Codec = {
  contentType: 'application/json',
  encode(body) {
    if (body instanceof Uint8Array) return body
    const text = JSON.stringify(body)
    if (text === undefined) throw new BusError('invalid_message', `the body is ${typeof body}, which JSON cannot hold`)
    return encoder.encode(text)
  },
  decode(bytes) {
    return JSON.parse(strict.decode(bytes))
  },
}

/** What was said last: messages mostly say the same as the one before. */
let said = ''
let saidJson = false

/** Whether headers say that a body is JSON, or say nothing: a foreign producer's text or picture is bytes. */
export function saysJson(headers: Headers | undefined): boolean {
  const type = headers?.['content-type']
  if (type === undefined) return true
  if (type === said) return saidJson
  const media = type.split(';', 1)[0]!.trim().toLowerCase()
  said = type
  saidJson = media === 'application/json' || media.endsWith('+json')
  return saidJson
}

/** Bytes as they are, both ways. */
export const bytesCodec: Codec = {
  contentType: 'application/octet-stream',
  encode(body) {
    if (body instanceof Uint8Array) return body
    throw new BusError('invalid_message', `this topic carries bytes; the body is ${typeof body}`)
  },
  decode: (bytes) => bytes,
}
