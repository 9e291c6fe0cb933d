// For tests of your own: spy, fakeClock, testBus. To certify an engine: conformance, runWorkload, what an engine
// implements, and the checkers of a recorded history.
export type * from '../engines/engine.ts'
export type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../ledger/ledger.ts'
export { inOrder, nothingChanged, nothingLost, notRepeated, oneAtATime, report, type Violation } from './checkers.ts'
export { type FakeClock, fakeClock } from './clock.ts'
export type { Subject } from './harness.ts'
export { type Entry, History } from './history.ts'
export { memoryLedger } from './models/ledger.ts'
export { type Spy, type SpyRun, spy } from './spy.ts'
export { conformance, type SuiteTest } from './suite.ts'
export { testBus } from './test-bus.ts'
export { type Plan, runWorkload } from './workload.ts'
