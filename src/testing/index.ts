// The conformance suite: certify an engine

// What an engine implements
export type * from '../engines/engine.ts'
export type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../ledger/ledger.ts'
export { inOrder, nothingChanged, nothingLost, notRepeated, oneAtATime, report, type Violation } from './checkers.ts'
export type { Subject } from './harness.ts'
export { type Entry, History } from './history.ts'
export { conformance, type SuiteTest } from './suite.ts'
