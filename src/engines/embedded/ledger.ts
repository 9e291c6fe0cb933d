import type { Ledger, LedgerEntry, LedgerRecord, LedgerSpace } from '../../ledger/ledger.ts'
import type { Link } from './link.ts'

interface Watcher {
  readonly space: LedgerSpace
  readonly prefix: string
  readonly listener: (key: string) => void
}

/** The ledger in the store itself. */
export class EmbeddedLedger implements Ledger {
  readonly name: string
  readonly #link: Link
  readonly #watchers = new Set<Watcher>()

  constructor(link: Link, name: string) {
    this.#link = link
    this.name = name
  }

  write(records: readonly LedgerRecord[]): Promise<void> {
    return this.#link.call(records.every(({ space }) => space === 'hands') ? 'ledgerNote' : 'ledgerWrite', records)
  }

  read(space: LedgerSpace, keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    return this.#link.call('ledgerRead', space, keys)
  }

  list(space: LedgerSpace, prefix: string, page: { after?: string | undefined; limit: number }): Promise<LedgerEntry[]> {
    return this.#link.call('ledgerList', space, prefix, page.after, page.limit)
  }

  keys(space: LedgerSpace, prefix: string, page: { after?: string | undefined; limit: number }): Promise<string[]> {
    return this.#link.call('ledgerKeys', space, prefix, page.after, page.limit)
  }

  count(space: LedgerSpace, prefix: string): Promise<number> {
    return this.#link.call('ledgerCount', space, prefix)
  }

  watch(space: LedgerSpace, prefix: string, listener: (key: string) => void): () => void {
    const watcher: Watcher = { space, prefix, listener }
    this.#watchers.add(watcher)
    if (this.#watchers.size === 1) this.#link.call('ledgerWatch', true).catch(() => {})
    return () => {
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.#link.call('ledgerWatch', false).catch(() => {})
    }
  }

  changed(changes: readonly { readonly space: LedgerSpace; readonly key: string }[]): void {
    for (const { space, key } of changes)
      for (const watcher of this.#watchers) if (watcher.space === space && key.startsWith(watcher.prefix)) watcher.listener(key)
  }
}
