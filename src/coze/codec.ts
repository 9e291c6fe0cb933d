import type { Codec } from '../message/codec.ts'
import { strictText } from '../message/exact-json.ts'

type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown
const { parse, rawJSON } = JSON as unknown as {
  parse(text: string, reviver: Reviver): unknown
  rawJSON(source: string): unknown
}

const encoder = new TextEncoder()

/** Fields of Coze's events that are 64-bit ids, however small the number in them. */
export const idFields: ReadonlySet<string> = new Set([
  ...['id', 'res_id', 'owner_id', 'space_id', 'app_id'],
  ...['ID', 'CreatorID', 'SpaceID', 'AppID', 'KnowledgeID', 'DocumentID', 'ReviewID', 'ColumnID', 'SliceIDs'],
])

/**
 * JSON as Coze's Go services read and write it: 64-bit integers stand as bare digits, which a double cannot hold and Go does
 * not take as text. Ids become `bigint`, and so does any other integer that a double would change.
 */
export const cozeCodec: Codec = {
  contentType: 'application/json',
  encode: (body) =>
    body instanceof Uint8Array
      ? body
      : encoder.encode(JSON.stringify(body, (_name, value) => (typeof value === 'bigint' ? rawJSON(String(value)) : value))),
  decode: (bytes) =>
    parse(strictText(bytes), (name, value, { source }) => {
      if (typeof value === 'number') return exact(name, value, source!)
      // Its elements were told by their places.
      if (Array.isArray(value) && idFields.has(name)) return value.map((id) => (typeof id === 'number' ? BigInt(id) : id))
      return value
    }),
}

function exact(name: string, value: number, source: string): number | bigint {
  return (idFields.has(name) || !Number.isSafeInteger(value)) && /^-?\d+$/.test(source) ? BigInt(source) : value
}
