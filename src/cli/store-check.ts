import { access, constants, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { folderOf } from './store-folder.ts'

const leastFreeBytes = 100 * 1024 * 1024

/** Whether the folder of an embedded store can be read and written, and has room; says so where there is none to check. */
export async function checkStore(url: string): Promise<string> {
  const dir = folderOf(url)
  if (dir === undefined) return 'not a folder; nothing to check'
  const there = await nearest(dir)
  try {
    await access(there, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch {
    throw new Error(`${there} cannot be read and written by this user; change its permissions or choose another folder by --url`)
  }
  const { bavail, bsize } = await statfs(there)
  const free = bavail * bsize
  const room = `${(free / 1024 ** 3).toFixed(1)} GiB free`
  if (free < leastFreeBytes) throw new Error(`${dir}: only ${room}`)
  return there === dir ? `${dir}, ${room}` : `${dir} (will be made), ${room}`
}

/** The folder, or the first above it that exists: there it would be made. */
async function nearest(dir: string): Promise<string> {
  try {
    await access(dir)
    return dir
  } catch {
    const above = dirname(dir)
    return above === dir ? dir : nearest(above)
  }
}
