import type { Outgoing } from '../engines/engine.ts'

/**
 * A message that waits, as a record of the ledger. Its key begins with the minute it is due in: so that a search looks at the
 * minutes that have passed and not at all that waits. Versions before had no minute; their records are read all the same.
 */
const minuteMs = 60_000
const minuteDigits = 11
const timeDigits = 16

export function keyOf({ deliverAt, id }: Outgoing): string {
  const due = Math.ceil(deliverAt!)
  return `${minuteOf(due)}${String(due).padStart(timeDigits, '0')}/${id}`
}

/** When the record of the key is due, ms. */
export function dueOf(key: string): number {
  return Number(hasMinute(key) ? key.slice(minuteDigits + 1, minuteDigits + 1 + timeDigits) : key.slice(0, timeDigits))
}

/** Whether a search by minutes can find it. */
export function hasMinute(key: string): boolean {
  return key[minuteDigits] === '/'
}

/** What the keys of these times begin with, both ends included. */
export function minutesBetween(fromMs: number, toMs: number): string[] {
  const found: string[] = []
  for (let at = fromMs - (fromMs % minuteMs); at <= toMs; at += minuteMs) found.push(minuteOf(at))
  return found
}

function minuteOf(time: number): string {
  return `${String(Math.floor(time / minuteMs)).padStart(minuteDigits, '0')}/`
}

/** The length of a JSON text as 32 bits (big endian), the text, the body. */
export function pack({ body, ...meta }: Outgoing): Uint8Array {
  const text = Buffer.from(JSON.stringify(meta))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text, body])
}

export function unpack(value: Uint8Array): Outgoing {
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const end = 4 + view.readUInt32BE(0)
  const meta = JSON.parse(view.toString('utf8', 4, end)) as Omit<Outgoing, 'body'>
  return { ...meta, body: value.subarray(end), deliverAt: undefined }
}
