import { BusError } from '../errors.ts'
import type { Ledger } from './ledger.ts'

/** For an engine that stores nothing: there is nothing to keep of it, and who asks is told so. */
export function noLedger(engine: string): Ledger {
  const refuse = async (): Promise<never> => {
    throw new BusError('unsupported', `the ${engine} engine stores nothing: it has no dead letters, pauses, delays and bodies stored aside`)
  }
  return { name: 'none', write: refuse, read: refuse, list: refuse, keys: refuse, count: refuse, watch: () => () => {} }
}
