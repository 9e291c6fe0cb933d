import type { Ledger, LedgerSpace } from '../../ledger/ledger.ts'

interface Watcher {
  readonly space: LedgerSpace
  readonly prefix: string
  readonly listener: (key: string) => void
}

/** A ledger that lasts as long as the object. */
export function memoryLedger(): Ledger {
  const spaces = new Map<LedgerSpace, Map<string, Uint8Array>>()
  const watchers = new Set<Watcher>()

  function entries(space: LedgerSpace): Map<string, Uint8Array> {
    let found = spaces.get(space)
    if (!found) {
      found = new Map()
      spaces.set(space, found)
    }
    return found
  }

  function keys(space: LedgerSpace, prefix: string): string[] {
    const found: string[] = []
    for (const key of entries(space).keys()) if (key.startsWith(prefix)) found.push(key)
    return found
  }

  return {
    name: 'memory',
    async write(records) {
      for (const { space, key, value } of records) {
        if (value) entries(space).set(key, new Uint8Array(value))
        else entries(space).delete(key)
      }
      for (const { space, key } of records) {
        for (const watcher of watchers) {
          if (watcher.space !== space || !key.startsWith(watcher.prefix)) continue
          setImmediate(() => watchers.has(watcher) && watcher.listener(key)) // news comes later than the answer, as from any store
        }
      }
    },
    async read(space, wanted) {
      return wanted.map((key) => {
        const value = entries(space).get(key)
        return value && new Uint8Array(value)
      })
    },
    async list(space, prefix, { after, limit }) {
      // Code units, not the locale: what SQLite and NATS give for the ASCII keys that are used.
      const page = keys(space, prefix)
        .filter((key) => after === undefined || key > after)
        .sort()
      return page.slice(0, limit).map((key) => ({ key, value: new Uint8Array(entries(space).get(key)!) }))
    },
    async keys(space, prefix, { after, limit }) {
      return keys(space, prefix)
        .filter((key) => after === undefined || key > after)
        .sort()
        .slice(0, limit)
    },
    async count(space, prefix) {
      return keys(space, prefix).length
    },
    watch(space, prefix, listener) {
      const watcher: Watcher = { space, prefix, listener }
      watchers.add(watcher)
      return () => {
        watchers.delete(watcher)
      }
    },
  }
}
