import type { Engine, Outgoing } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import { type Blobs, blobKey } from '../ledger/blobs.ts'
import { wire } from '../message/wire.ts'

/** Stores a body aside and sends its place instead. Keyed by storage, time and id, so that a repeat stores it once. */
export async function checkIn(message: Outgoing, blobs: Blobs): Promise<Outgoing> {
  const key = blobKey(message.storage, Math.max(message.at, message.deliverAt ?? 0), message.id)
  await blobs.put(key, message.body)
  return { ...message, body: new Uint8Array(0), headers: { ...message.headers, [wire.blob]: key } }
}

/** @throws BusError `message_too_large` */
export function refuseTooLarge(message: Outgoing, bytes: number, limit: number): never {
  throw new BusError(
    'message_too_large',
    `topic '${message.name}': the body has ${bytes} bytes and the engine takes ${limit}; make it smaller, or connect with claimCheck: true`,
  )
}

/** Clocks of publishers and brokers differ, and a body is stored before its message. */
const marginMs = 3600_000
/** How long bodies are kept of which nobody can tell whether their messages are still there: on some engines all, else those of topics that are not listed. */
const keepMs = 7 * 24 * 3600_000

/** Deletes the bodies whose messages are gone. Returns how many. Those of dead letters go with these. */
export async function sweepBlobs(engine: Engine, blobs: Blobs, now: number): Promise<number> {
  const oldest = new Map<string, number>()
  const { history } = engine.capabilities
  if (history)
    for (const { storage, messages, firstAt, scheduled } of await engine.admin.topics())
      oldest.set(storage, messages === 0 && scheduled === 0 ? now : (firstAt ?? 0))
  let deleted = 0
  for await (const page of blobs.ofMessages()) {
    const gone = page.filter(({ storage, at }) => at < Math.min(now, oldest.get(storage) ?? now - keepMs) - marginMs)
    await blobs.delete(gone.map(({ key }) => key))
    deleted += gone.length
  }
  return deleted
}
