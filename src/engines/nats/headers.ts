import type { Msg, MsgHdrs } from '@nats-io/transport-node'
import type { Headers } from '../../message/headers.ts'
import { wire } from '../../message/wire.ts'
import type { Outgoing } from '../engine.ts'

/** NATS's own: what it stores once by. */
const idHeader = 'Nats-Msg-Id'
/** What order is kept by; the name that Coze's bus uses. */
export const keyHeader = 'Sharding-Key'
/** A key that is no plain text in a header: percent-encoded. */
const encodedKeyHeader = 'cozebus-key'

const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7/
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const plain = /^[\x21-\x7e]+$/
const lineBreak = /[\r\n]/

/** What the UUIDv7 of one millisecond begin with; those that come or go together mostly have the same. */
let beginning = '00000000-0000-7'
let beginningAt = 0

/** The milliseconds in a UUIDv7; undefined for another id. */
function timeIn(id: string): number | undefined {
  if (id.startsWith(beginning)) return beginningAt
  if (!uuidV7.test(id)) return undefined
  beginning = id.slice(0, 15)
  beginningAt = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
  return beginningAt
}

/** Made in one piece: the client's own takes ten times as long. */
export function encodeHeaders(message: Pick<Outgoing, 'id' | 'key' | 'headers' | 'at'>): MsgHdrs {
  return block(headerText(message))
}

/** The header block as it goes over the wire (https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub), without the empty line at its end. */
export function headerText(message: Pick<Outgoing, 'id' | 'key' | 'headers' | 'at'>): string {
  const { id, key, headers, at } = message
  let text = `NATS/1.0\r\n${idHeader}: ${id}\r\n`
  if (key !== undefined) text += plain.test(key) ? `${keyHeader}: ${key}\r\n` : `${encodedKeyHeader}: ${encodeURIComponent(key)}\r\n`
  // A UUIDv7 tells when it was made: no header for what the id says.
  if (timeIn(id) !== at && headers?.[wire.publishedAt] === undefined) text += `${wire.publishedAt}: ${at}\r\n`
  for (const name in headers) {
    const value = headers[name]!
    // Space at the ends is no part of a value on the wire, a line break would begin another header, and the server's own names would
    // be orders to it.
    text +=
      value === value.trim() && !lineBreak.test(value) && !name.startsWith('Nats-')
        ? `${name}: ${value}\r\n`
        : `${encodedPrefix}${name}: ${encodeURIComponent(value)}\r\n`
  }
  return text
}

/** The client asks a header block for its bytes and nothing else. */
export function block(text: string): MsgHdrs {
  return { encode: () => Buffer.from(`${text}\r\n`) } as unknown as MsgHdrs
}

const encodedPrefix = 'cozebus-e-'

export interface Decoded {
  readonly id: string | undefined
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly at: number | undefined
}

/** As it is where somebody wrote what is no encoding: a header that cannot be read must not end the reading of all others. */
function decodedOr(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/**
 * Of a message of anybody's. The client throws at the name of a header that is no HTTP token, which some other client
 * wrote; thrown where messages come in, that would end the reading of all others. Then it counts as one without headers.
 */
export function headersOf(msg: Pick<Msg, 'headers'>): MsgHdrs | undefined {
  try {
    return msg.headers
  } catch {
    return undefined
  }
}

const lineEnd = '\r\n'

/** Headers of the server and the client are left out; a message without any header gives nothing, nor does one that no client could read. */
export function decodeHeaders(block: string | undefined): Decoded {
  let id: string | undefined
  let key: string | undefined
  let at: number | undefined
  let headers: Record<string, string> | undefined
  let end = block === undefined ? -1 : block.indexOf(lineEnd)
  while (block !== undefined && end >= 0 && end + lineEnd.length < block.length) {
    const from = end + lineEnd.length
    end = block.indexOf(lineEnd, from)
    if (end < 0) end = block.length
    const colon = block.indexOf(':', from)
    if (colon < 0 || colon >= end) continue
    const name = block.slice(from, colon)
    const value = block.slice(colon + 1, end).trim()
    if (!isName(name) || value.includes('\n') || value.includes('\r')) return nothing
    // Of several values the first one counts.
    if (name === idHeader) id ??= value
    else if (name === keyHeader) key ??= value
    else if (name === encodedKeyHeader) key ??= decodedOr(value)
    else if (name.startsWith(encodedPrefix)) put((headers ??= {}), name.slice(encodedPrefix.length), decodedOr(value))
    else if (!name.startsWith('Nats-')) {
      if (name === wire.publishedAt && Number.isFinite(Number(value))) at ??= Number(value)
      put((headers ??= {}), name, value)
    }
  }
  at ??= id === undefined ? undefined : timeIn(id)
  // Ours tells when it was published. Coze's Go bus numbers the messages of a send by their key, `<key>-0`: many have the same.
  if (at === undefined && id !== undefined && !uuid.test(id)) {
    const numbered = /^(.+)-\d{1,6}$/.exec(id)
    if (numbered) {
      id = undefined
      if (/^\d+$/.test(numbered[1]!)) key ??= numbered[1]!
    }
  }
  return { id, key, headers, at }
}

const nothing: Decoded = { id: undefined, key: undefined, headers: undefined, at: undefined }

function put(headers: Record<string, string>, name: string, value: string): void {
  if (!Object.hasOwn(headers, name)) headers[name] = value
}

/** Of printable ASCII, as all clients want it. */
function isName(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 33 || text.charCodeAt(i) > 126) return false
  return true
}
