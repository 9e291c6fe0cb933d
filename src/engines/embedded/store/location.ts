import { accessSync, constants, existsSync, mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { BusError } from '../../../errors.ts'

export const fileName = 'bus.db'

/** File systems whose locks and shared memory do not hold between machines, by statfs type (Linux). */
const networkTypes = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
])

/**
 * Makes the folder, and refuses what can be seen to fail before SQLite touches it. Returns the file's path. The file itself is
 * opened by SQLite alone: to close it here would end the locks of another connection of this process (POSIX).
 */
export function prepareLocation(dir: string): string {
  try {
    mkdirSync(dir, { recursive: true })
  } catch (error) {
    throw locationError(dir, reasonOf(dir, error))
  }
  const type = statfsSync(dir).type >>> 0
  const network = networkTypes.get(type)
  if (network)
    throw new BusError(
      'unsupported',
      `store '${dir}': it is on ${network}, where file locks do not hold between machines; use a local disk, or a broker (nats://) for several machines`,
    )
  const file = join(dir, fileName)
  try {
    accessSync(dir, constants.W_OK | constants.X_OK)
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0) accessSync(file, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw locationError(dir, error)
  }
  return file
}

/** A mark beside the file that damage was seen in it, for those who open it later: it may be in a page that they would read last. */
export class Suspicion {
  readonly #mark: string

  constructor(dir: string) {
    this.#mark = join(dir, `${fileName}-corrupt`)
  }

  get raised(): boolean {
    return existsSync(this.#mark)
  }

  raise(): void {
    try {
      writeFileSync(
        this.#mark,
        'Damage was found in bus.db. Its pages are checked when it is opened next; where they are sound, this file goes.\n',
      )
    } catch {
      // A disk that takes no more: the damage is found again when its page is read.
    }
  }

  drop(): void {
    rmSync(this.#mark, { force: true })
  }
}

/** Node says ENOENT where a disk is read-only: the folder above, the nearest that is there, knows better. */
function reasonOf(dir: string, thrown: unknown): unknown {
  if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') return thrown
  let above = dirname(dir)
  while (!existsSync(above) && above !== dirname(above)) above = dirname(above)
  try {
    accessSync(above, constants.W_OK | constants.X_OK)
    return thrown
  } catch (reason) {
    return reason
  }
}

function locationError(dir: string, thrown: unknown): BusError {
  if (thrown instanceof BusError) return thrown
  const { code, message } = thrown as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new BusError(
      'store_readonly',
      `store '${dir}': it cannot be written (${message}); give this user write permission to the folder and every file in it, or choose another folder`,
      { cause: thrown },
    )
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new BusError('store_full', `store '${dir}': the disk is full (${message}); free space or choose another disk`, { cause: thrown })
  return new BusError('invalid_argument', `store '${dir}': ${message}; name a folder that can be made`, { cause: thrown })
}
