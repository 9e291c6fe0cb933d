import { isUtf8 } from 'node:buffer'
import type { Headers } from '../../message/headers.ts'
import type { Outgoing } from '../engine.ts'

/**
 * NSQ carries bytes and nothing else. What else a message has stands around its body as a CloudEvent in structured JSON
 * (https://github.com/cloudevents/spec, 1.0): `type` is the topic's name, `partitionkey` the key, `cozebusheaders` the other
 * headers as JSON text, as an attribute may hold no object. `data` comes last and holds a JSON body as it was written, to
 * the byte; any other body is `data_base64`.
 */
export interface Envelope {
  readonly id: string
  readonly name: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly at: number
  /** Not before this time, ms since the epoch. */
  readonly dueAt?: number
  readonly moved?: Move
}

/** That a message was moved to the private topic of its group, by a member that could not keep it where it was. */
export interface Move {
  /** The fence that it had. */
  readonly fence: number
  /** The member that still works on it, by which name it knows this copy, and until when nobody else may, ms since the epoch. */
  readonly holder?: { readonly member: string; readonly copy: string; readonly untilMs: number }
}

interface Attributes {
  readonly specversion: '1.0'
  readonly cozebus: '1'
  readonly id: string
  readonly source: string
  readonly type: string
  readonly time: string
  readonly partitionkey?: string
  readonly datacontenttype?: string
  readonly traceparent?: string
  readonly tracestate?: string
  readonly cozebusheaders?: string
  readonly cozebusdue?: string
  readonly cozebusfence?: string
  readonly cozebusholder?: string
  readonly cozebuscopy?: string
  readonly cozebusheld?: string
}

const begin = Buffer.from('{"specversion":"1.0","cozebus":"1",')
// A quote inside a JSON text has a backslash before it: neither can stand in a value.
const dataMark = Buffer.from(',"data":')
const base64Mark = Buffer.from(',"data_base64":"')
const end = Buffer.from('}')
const base64End = Buffer.from('"}')

/** What the envelope adds to a message whose name, key and headers are short. */
export const envelopeRoom = 4096

const own = { datacontenttype: 'content-type', traceparent: 'traceparent', tracestate: 'tracestate' } as const

export function wrap(
  { id, storage, name, key, headers, at, deliverAt, body }: Omit<Outgoing, 'deliverAt'> & Partial<Pick<Outgoing, 'deliverAt'>>,
  moved?: Move,
): Buffer {
  const attributes: Record<string, string> = {
    specversion: '1.0',
    cozebus: '1',
    id,
    source: `cozebus:${encodeURIComponent(storage)}`,
    type: name,
    time: timeOf(at),
  }
  if (key !== undefined) attributes['partitionkey'] = key
  let others: Record<string, string> | undefined
  for (const header in headers) {
    const value = headers[header]!
    if (header === own.datacontenttype) attributes['datacontenttype'] = value
    else if (header === own.traceparent || header === own.tracestate) attributes[header] = value
    else (others ??= {})[header] = value
  }
  if (others) attributes['cozebusheaders'] = JSON.stringify(others)
  if (deliverAt !== undefined) attributes['cozebusdue'] = timeOf(deliverAt)
  if (moved) attributes['cozebusfence'] = String(moved.fence)
  if (moved?.holder) {
    attributes['cozebusholder'] = moved.holder.member
    attributes['cozebuscopy'] = moved.holder.copy
    attributes['cozebusheld'] = String(moved.holder.untilMs)
  }
  const head = Buffer.from(JSON.stringify(attributes).slice(0, -1))
  if (isJson(body)) return Buffer.concat([head, dataMark, body, end])
  return Buffer.concat([
    head,
    base64Mark,
    Buffer.from(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64'), 'latin1'),
    base64End,
  ])
}

/** Undefined for what is no envelope of ours: anybody's body. */
export function unwrap(bytes: Buffer): { envelope: Envelope; body: Buffer } | undefined {
  if (bytes.length < begin.length || bytes.compare(begin, 0, begin.length, 0, begin.length) !== 0) return undefined
  const data = bytes.indexOf(dataMark)
  const base64 = data < 0 ? bytes.indexOf(base64Mark) : -1
  const headEnd = Math.max(data, base64)
  if (headEnd < 0 || bytes.at(-1) !== end[0]) return undefined
  let attributes: Attributes
  let others: Record<string, string> | undefined
  try {
    attributes = JSON.parse(`${bytes.toString('utf8', 0, headEnd)}}`) as Attributes
    if (attributes.cozebusheaders !== undefined) others = JSON.parse(attributes.cozebusheaders) as Record<string, string>
  } catch {
    return undefined
  }
  // Anybody can write what begins like ours.
  if (!isTexts(attributes) || (others !== undefined && !isTexts(others))) return undefined
  const { id, type, time, partitionkey } = attributes
  const at = Date.parse(time)
  if (id === undefined || type === undefined || Number.isNaN(at)) return undefined
  const dueAt = attributes.cozebusdue === undefined ? undefined : Date.parse(attributes.cozebusdue)
  if (Number.isNaN(dueAt)) return undefined
  const moved = moveOf(attributes)
  if (moved && !(Number.isFinite(moved.fence) && Number.isFinite(moved.holder?.untilMs ?? 0))) return undefined
  let headers = others
  for (const attribute of ['datacontenttype', 'traceparent', 'tracestate'] as const) {
    const value = attributes[attribute]
    if (value !== undefined) (headers ??= {})[own[attribute]] = value
  }
  const body =
    data >= 0
      ? bytes.subarray(data + dataMark.length, -end.length)
      : Buffer.from(bytes.toString('latin1', base64 + base64Mark.length, bytes.length - base64End.length), 'base64')
  return {
    envelope: { id, name: type, key: partitionkey, headers, at, ...(dueAt !== undefined && { dueAt }), ...(moved && { moved }) },
    body,
  }
}

function isTexts(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  for (const name in value) if (typeof (value as Record<string, unknown>)[name] !== 'string') return false
  return true
}

function moveOf({ cozebusfence, cozebusholder: member, cozebuscopy: copy = '', cozebusheld }: Attributes): Move | undefined {
  if (cozebusfence === undefined) return undefined
  const fence = Number(cozebusfence)
  return member === undefined ? { fence } : { fence, holder: { member, copy, untilMs: Number(cozebusheld) } }
}

// Broken times would be refused by those who read the event as one.
function timeOf(at: number): string {
  return new Date(Math.round(at)).toISOString()
}

/** Whether the bytes can stand inside a JSON text as they are. */
function isJson(body: Uint8Array): boolean {
  if (body.length === 0 || !isUtf8(body)) return false
  try {
    JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
    return true
  } catch {
    return false
  }
}
