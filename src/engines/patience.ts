import { setTimeout as sleep } from 'node:timers/promises'
import { BusError } from '../errors.ts'

export interface Patience {
  /** Whom one waits for, in words. */
  readonly broker: string
  readonly waitForServer: boolean | number | undefined
  /** Between two attempts, ms. */
  readonly waitMs: () => number
}

/** Opens once, or with `waitForServer` until the server is there; what waiting does not mend is thrown at once. */
export async function patiently<T>({ broker, waitForServer = false, waitMs }: Patience, open: () => Promise<T>): Promise<T> {
  const until = waitForServer === true ? Number.POSITIVE_INFINITY : performance.now() + Number(waitForServer)
  for (let warned = false; ; warned = true) {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof BusError && error.code === 'engine_unavailable') || performance.now() >= until) throw error
      if (!warned) process.emitWarning(`waiting for ${broker}: ${error.message}`, { type: 'CozebusWarning', code: error.code })
      await sleep(Math.max(0, Math.min(waitMs(), until - performance.now())))
    }
  }
}
