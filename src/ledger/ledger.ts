/**
 * Where the core keeps what a broker cannot: dead letters, attempts, pauses, blobs, schedules. Records under text keys,
 * so that an SQLite table, a NATS bucket and a compacted Kafka topic can all serve.
 */
export interface Ledger {
  /** Whose it is, for status: `embedded (./.cozebus)`. */
  readonly name: string
  /**
   * Durable once it resolves, in the order given; a record without a value is deleted. What is in hand need only outlive the
   * process: a machine that loses its power takes all members along.
   * @throws BusError `publish_unknown` where some of it may be written all the same
   */
  write(records: readonly LedgerRecord[]): Promise<void>
  /** In the order of the keys; undefined where there is none. */
  read(space: LedgerSpace, keys: readonly string[]): Promise<(Uint8Array | undefined)[]>
  /** In key order, keys that begin with the prefix, those after `after` only. */
  list(space: LedgerSpace, prefix: string, page: { after?: string | undefined; limit: number }): Promise<LedgerEntry[]>
  /** The same without the values: what a list of large bodies costs. */
  keys(space: LedgerSpace, prefix: string, page: { after?: string | undefined; limit: number }): Promise<string[]>
  count(space: LedgerSpace, prefix: string): Promise<number>
  /** Calls with each key that changes from now on; changes of what is in hand need not be told. Returns the way to stop. */
  watch(space: LedgerSpace, prefix: string, listener: (key: string) => void): () => void
}

export type LedgerSpace = 'dead-letters' | 'attempts' | 'hands' | 'pauses' | 'blobs' | 'schedules'

export interface LedgerRecord {
  readonly space: LedgerSpace
  readonly key: string
  readonly value: Uint8Array | undefined
}

export interface LedgerEntry {
  readonly key: string
  readonly value: Uint8Array
}
