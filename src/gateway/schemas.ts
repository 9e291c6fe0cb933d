import type { Schema } from './route.ts'

// JSON schemas that several routes share; small builders keep the tables readable.
export const text: Schema = { type: 'string' }
export const flag: Schema = { type: 'boolean' }
export const count: Schema = { type: 'integer', minimum: 0 }
export const time: Schema = { type: 'string', format: 'date-time' }
export const anything: Schema = {}

export function list(items: Schema): Schema {
  return { type: 'array', items }
}

/** Names that end in `?` are optional. */
export function object(properties: Readonly<Record<string, Schema>>): Schema {
  const required = Object.keys(properties).filter((name) => !name.endsWith('?'))
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name.replace(/\?$/, ''), schema])),
    ...(required.length > 0 ? { required } : {}),
  }
}

export const headers: Schema = { type: 'object', additionalProperties: text }
export const duration: Schema = { type: ['string', 'number'], description: "milliseconds, or a text like '30s', '5m', '2h'" }
export const bodyOut: Schema = { description: 'JSON as published; bytes that are no JSON come as { base64 }' }

/** The fields of a message, wherever it is shown. */
export const messageFields = { id: text, topic: text, 'key?': text, headers, body: bodyOut, publishedAt: time }

export function pageLimit(otherwise: number): Schema {
  return { type: 'integer', minimum: 1, maximum: 1000, default: otherwise }
}

export const receipt = object({ id: text, topic: text, 'position?': text, duplicate: flag })
export const problem = object({ type: text, title: text, status: count, detail: text, code: text, retryable: flag })
