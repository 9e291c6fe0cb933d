import { readFileSync } from 'node:fs'
import { BusError } from '../errors.ts'

export interface Pems {
  /** PEM, or the paths of PEM files. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

export const isPem = (text: string): boolean => text.includes('-----BEGIN')

/** What Node's TLS needs, read now; `prefix`: how the options are called. @throws BusError `invalid_argument` for a file that cannot be read */
export function readPems(tls: Pems, prefix: string): { ca?: string; cert?: string; key?: string } {
  const read = (name: keyof Pems): { [name]?: string } => {
    const value = tls[name]
    if (value === undefined || isPem(value)) return value === undefined ? {} : { [name]: value }
    try {
      return { [name]: readFileSync(value, 'utf8') }
    } catch (error) {
      throw new BusError('invalid_argument', `${prefix}.${name} is neither PEM nor a file that can be read`, { cause: error })
    }
  }
  return { ...read('ca'), ...read('cert'), ...read('key') }
}
