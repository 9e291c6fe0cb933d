import type { Context } from 'hono'
import { BusError } from '../errors.ts'
import { parseExact, strictText } from '../message/exact-json.ts'

export function topicOf(c: Context): string {
  return c.req.param('topic')!
}

export function groupOf(c: Context): string {
  return c.req.param('group')!
}

/** @throws BusError `invalid_argument` */
export function whole(value: unknown, name: string, least: number, most: number, otherwise: number): number {
  if (value === undefined) return otherwise
  const number = typeof value === 'string' && value !== '' ? Number(value) : value
  if (typeof number !== 'number' || !Number.isInteger(number) || number < least || number > most)
    throw new BusError('invalid_argument', `${name} must be a whole number from ${least} to ${most}, not ${JSON.stringify(value)}`)
  return number
}

/** @throws BusError `invalid_message` */
export function parse(source: string, what: string): unknown {
  try {
    return parseExact(source)
  } catch (error) {
    throw new BusError('invalid_message', `${what} is no JSON`, { cause: error })
  }
}

/** The request's body as text. @throws BusError `invalid_message` for bytes that are no UTF-8 */
export async function textOf(c: Context): Promise<string> {
  try {
    return strictText(new Uint8Array(await c.req.arrayBuffer()))
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new BusError('invalid_message', 'the request body is no UTF-8; send bytes as application/octet-stream', { cause: error })
  }
}

/** A JSON object of the request; an empty body is an empty object. @throws BusError `invalid_message`, `invalid_argument` */
export async function fields(c: Context): Promise<Record<string, unknown>> {
  const source = await textOf(c)
  const value = source.trim() === '' ? {} : parse(source, 'the request body')
  if (!isObject(value)) throw new BusError('invalid_argument', 'the request body must be a JSON object')
  return value
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @throws BusError `invalid_argument` */
export function textOr<T>(value: unknown, name: string, otherwise: T): string | T {
  if (value === undefined) return otherwise
  if (typeof value !== 'string') throw new BusError('invalid_argument', `${name} must be a text, not ${JSON.stringify(value)}`)
  return value
}
