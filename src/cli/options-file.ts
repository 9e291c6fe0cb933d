import { readFileSync } from 'node:fs'
import type { ConnectOptions } from '../bus.ts'
import { optionNames } from '../engines/registry.ts'
import { BusError } from '../errors.ts'

/** What `connect` takes and a file can hold. */
type Written = Omit<ConnectOptions, 'publish' | 'defaults'>

const known: readonly (keyof Written)[] = [...optionNames, 'ledger', 'claimCheck', 'drain']

/** Options of `connect` from a JSON file: certificates, tokens and addresses that a URL has no room for. @throws BusError `invalid_argument` */
export function readOptions(path: string | undefined): Written {
  if (path === undefined) return {}
  const refuse = (why: string): BusError => new BusError('invalid_argument', `the file of --options, ${path}, ${why}`)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw refuse(`cannot be read: ${(error as Error).message}`)
  }
  let options: unknown
  try {
    options = JSON.parse(text)
  } catch {
    // The parser's own message would show a piece of it.
    throw refuse('is no JSON')
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw refuse('must hold an object')
  const unknown = Object.keys(options).find((name) => !known.includes(name as keyof Written))
  if (unknown !== undefined) throw refuse(`has '${unknown}', which is none of ${known.join(', ')}`)
  return options as Written
}
