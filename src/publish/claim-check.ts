import type { Outgoing } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { wire } from '../message/wire.ts'

/** Stores a body aside and sends its place instead. Blobs are keyed by storage and id, so that a repeat stores it once. */
export async function checkIn(message: Outgoing, ledger: Ledger): Promise<Outgoing> {
  const key = `${message.storage}/${message.id}`
  await ledger.write([{ space: 'blobs', key, value: message.body }])
  return { ...message, body: new Uint8Array(0), headers: { ...message.headers, [wire.blob]: key } }
}

/** @throws BusError `not_found` when the body is gone */
export async function checkOut(key: string, ledger: Ledger): Promise<Uint8Array> {
  const [bytes] = await ledger.read('blobs', [key])
  if (!bytes) throw new BusError('not_found', `the body that was stored aside as '${key}' is gone`)
  return bytes
}

export function tooLarge(message: Outgoing, limit: number): BusError {
  return new BusError(
    'message_too_large',
    `topic '${message.name}': the body has ${message.body.byteLength} bytes and the engine takes ${limit}; make it smaller, or connect with claimCheck: true`,
  )
}
