import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { BusError } from '../errors.ts'

/** The folder of an embedded store; undefined for a bus that lies elsewhere. */
export function folderOf(url: string): string | undefined {
  return url.startsWith('file:') ? resolve(url.slice('file:'.length).replace(/^\/\/(?=\/)/, '')) : undefined
}

/** @throws BusError `not_found` */
export function mustExist(url: string): void {
  const folder = folderOf(url)
  if (folder !== undefined && !existsSync(folder))
    throw new BusError(
      'not_found',
      `there is no store in ${folder}; name another by --url or COZEBUS_URL, or begin one with 'serve', 'pub' or 'sub'`,
    )
}
