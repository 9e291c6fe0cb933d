import { type Bus, type ConnectOptions, connectEngine } from '../bus.ts'
import { memoryLedger } from './models/ledger.ts'
import { logModel } from './models/log.ts'

/**
 * A bus for tests: an engine in this thread that nobody else sees and that leaves nothing behind, so that a
 * {@link fakeClock} drives retries and delays. It has no requests and no key-value store; where a test needs those,
 * connect to `memory:`.
 */
export async function testBus(options: Omit<ConnectOptions, 'ledger'> = {}): Promise<Bus> {
  return connectEngine(await logModel({ dedupeWindowMs: 600_000 }).connect(), { ...options, ledger: memoryLedger() })
}
