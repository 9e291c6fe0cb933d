import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { certify } from './certify.ts'
import { modelSubject } from './subjects.ts'

await certify('the log model', () => modelSubject('log', logModel()))
// A cap on leases that is short enough to be reached, and longer than what a case keeps a message: it counts from the push,
// and up to a second goes by in the buffer before the handler begins.
await certify('the queue model', () => modelSubject('queue', queueModel({ maxLeaseMs: 7000 })))
await certify('the log model with idempotent producers', () => modelSubject('idempotent log', logModel({ dedupeWindowMs: 2000 })))
