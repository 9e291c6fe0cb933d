import { setTimeout as sleep } from 'node:timers/promises'
import { BusError } from '../../errors.ts'
import type { NatsOptions } from './options.ts'

/** Opens once, or with `waitForServer` until the server is there; what waiting does not mend is thrown at once. */
export async function patiently<T>(options: NatsOptions, open: () => Promise<T>): Promise<T> {
  const { waitForServer = false, reconnectWaitMs = 2000, reconnectJitterMs = 1000 } = options
  const until = waitForServer === true ? Number.POSITIVE_INFINITY : performance.now() + Number(waitForServer)
  for (let warned = false; ; warned = true) {
    try {
      return await open()
    } catch (error) {
      const wait = reconnectWaitMs + Math.random() * reconnectJitterMs
      if (!(error instanceof BusError && error.code === 'engine_unavailable') || performance.now() >= until) throw error
      if (!warned) process.emitWarning(`waiting for NATS: ${error.message}`, { type: 'CozebusWarning', code: error.code })
      await sleep(Math.max(0, Math.min(wait, until - performance.now())))
    }
  }
}
