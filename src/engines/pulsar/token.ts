import { BusError } from '../../errors.ts'
import type { PulsarOptions } from './options.ts'

/** Asked for each time, as it may have a new one. @throws BusError `unauthorized` for whatever goes wrong in a function of the user's */
export async function tokenOf({ token }: PulsarOptions): Promise<string | undefined> {
  if (typeof token !== 'function') return token
  try {
    const given: unknown = await token()
    if (typeof given === 'string' && given !== '') return given
    throw new Error('the function gave no text')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new BusError('unauthorized', `pulsar.token: ${why}`, { cause: error })
  }
}
