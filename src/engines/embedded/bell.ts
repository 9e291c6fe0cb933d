import { type FSWatcher, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bellName } from './protocol.ts'

/**
 * Hears when another process has committed: each writes a byte into one file of the folder. The log itself would tell too,
 * but a hundred times for each commit, once a page. Undefined where the system cannot watch.
 */
export function hear(dir: string, wake: () => void): FSWatcher | undefined {
  try {
    const file = join(dir, bellName)
    writeFileSync(file, '.', { flag: 'a' })
    const watcher = watch(file, { persistent: false }, wake)
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}
