import type { Subject } from '../../src/testing/harness.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import type { ModelBroker } from '../../src/testing/models/model.ts'

export function modelSubject(name: string, broker: ModelBroker): Subject {
  return {
    name,
    ledger: memoryLedger(),
    open: () => broker.connect(),
    restart: async () => broker.restart(),
    crash: async (engine) => broker.crash(engine),
    foreign: async (storage, topic, bytes) => broker.foreign(storage, topic, bytes),
  }
}
