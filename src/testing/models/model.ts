import type { Engine, Outgoing, StorageName } from '../../engines/engine.ts'
import { newId } from '../../message/id.ts'

/** One broker inside this process. Every `connect()` is a process of its own to it; the breaking points are for tests. */
export interface ModelBroker {
  connect(): Promise<Engine>
  /**
   * Drops every connection. Members lose what they have in hand; publishes in flight get `publish_unknown`, the first
   * half of their messages being stored all the same. The engines come back by themselves.
   */
  restart(): void
  /** The engine's process is gone without a goodbye: the broker learns of it from leases and sessions that run out. */
  crash(engine: Engine): void
  /** Nobody reaches the broker until {@link up}. */
  down(): void
  up(): void
  /** A producer that knows nothing of us: bytes under a name. */
  foreign(storage: StorageName, name: string, bytes: Uint8Array): void
  /** How many messages were ever stored under the name, those settled, purged or expired since included. */
  stored(storage: StorageName): number
}

/** How long a broker waits for a member that went silent, ms. */
export const sessionMs = 300
/** How long an engine waits before it connects again, ms. */
export const reconnectMs = 20
export const maxMessageBytes = 1024 * 1024

/** What a broker makes of a foreign producer's bytes: the transport's own id, and nothing else. */
export function foreignMessage(storage: StorageName, name: string, body: Uint8Array): Outgoing {
  return { storage, name, id: newId(), key: undefined, headers: undefined, body, at: Date.now(), deliverAt: undefined }
}
