import type { Ledger } from './ledger.ts'

/** What is known of a message that failed, or whose process died, in one group. */
export interface AttemptState {
  /** Handler failures that counted. */
  failures: number
  /** Times the process died while handling it. */
  crashes: number
  /** A run is on: if this is read back, the process of that run died. */
  started: boolean
  /** Of whose records in the book of hands nothing more is counted here: their deaths are, or they have written this themselves. */
  deaths: string[]
  /** Not before this time, ms since the epoch: the backoff, kept over a change of members. */
  notBefore: number
  firstFailureAt: number | undefined
  lastFailureAt: number | undefined
  error: string | undefined
}

export function newAttempts(): AttemptState {
  return {
    failures: 0,
    crashes: 0,
    started: false,
    deaths: [],
    notBefore: 0,
    firstFailureAt: undefined,
    lastFailureAt: undefined,
    error: undefined,
  }
}

/** Keys of the ledger are made of a storage, a group and a message's id, none of which may hold the separator. */
export function attemptKey(storage: string, group: string, id: string): string {
  return `${storage}/${group}/${id}`
}

/** Reads and writes {@link AttemptState}; nothing is kept for a message that goes well at once. */
export class AttemptBook {
  readonly #ledger: Ledger
  readonly #group: string

  constructor(ledger: Ledger, group: string) {
    this.#ledger = ledger
    this.#group = group
  }

  async read(storageAndIds: readonly { storage: string; id: string }[]): Promise<(AttemptState | undefined)[]> {
    const found = await this.#ledger.read(
      'attempts',
      storageAndIds.map(({ storage, id }) => attemptKey(storage, this.#group, id)),
    )
    return found.map((bytes) => (bytes ? ({ ...newAttempts(), ...JSON.parse(Buffer.from(bytes).toString()) } as AttemptState) : undefined))
  }

  write(storage: string, id: string, state: AttemptState | undefined): Promise<void> {
    return this.#ledger.write([
      { space: 'attempts', key: attemptKey(storage, this.#group, id), value: state && Buffer.from(JSON.stringify(state)) },
    ])
  }

  /** Forgets all of a storage. */
  async clear(storage: string): Promise<void> {
    const prefix = attemptKey(storage, this.#group, '')
    for (;;) {
      const keys = await this.#ledger.keys('attempts', prefix, { limit: 1000 })
      if (keys.length > 0) await this.#ledger.write(keys.map((key) => ({ space: 'attempts', key, value: undefined })))
      if (keys.length < 1000) return
    }
  }
}
