import { BusError } from '../../../errors.ts'

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html). */
const result = { busy: 5, locked: 6, readonly: 8, io: 10, corrupt: 11, full: 13, cantOpen: 14, notADatabase: 26 } as const

function resultOf(thrown: unknown): number | undefined {
  const code = (thrown as { errcode?: unknown } | undefined)?.errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

/** Another process holds the write lock, or the log is being recovered: worth another try at once. */
export function isBusy(thrown: unknown): boolean {
  const code = resultOf(thrown)
  return code === result.busy || code === result.locked
}

const whatToDo =
  'nothing more is written to it. Move the folder aside and restore a backup, or save what is readable with "sqlite3 bus.db .recover"'

export function failedCheck(where: string): BusError {
  return new BusError('store_corrupt', `${where}: the check of its pages failed; ${whatToDo}`)
}

/** What SQLite threw, in the words of the bus. */
export function storeError(thrown: unknown, where: string): BusError {
  if (thrown instanceof BusError) return thrown
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  switch (resultOf(thrown)) {
    case result.full:
      return new BusError(
        'store_full',
        `${where}: the disk is full (${text}); free space or move the store to a larger disk, nothing that was confirmed is lost`,
        { cause: thrown },
      )
    case result.readonly:
      return new BusError(
        'store_readonly',
        `${where}: it cannot be written (${text}); give this user write permission to the folder and every file in it`,
        { cause: thrown },
      )
    case result.corrupt:
    case result.notADatabase:
      return new BusError('store_corrupt', `${where}: ${text}; ${whatToDo}`, { cause: thrown })
    case result.busy:
    case result.locked:
      return new BusError('engine_unavailable', `${where}: another process holds its lock (${text}); try again`, { cause: thrown })
    case result.io:
    case result.cantOpen:
      return new BusError(
        'engine_unavailable',
        `${where}: the disk refused (${text}); check that the folder is there, writable, and neither full nor over a quota`,
        { cause: thrown },
      )
    default:
      return new BusError('internal', `${where}: ${text}`, { cause: thrown })
  }
}
