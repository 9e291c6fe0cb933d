import { errors } from '@nats-io/transport-node'
import { isTransient } from './failure.ts'

const firstWaitMs = 20
const lastWaitMs = 500
const defaultMs = 10_000

/**
 * Asks the server's API for something that may be done twice. While leaders change nobody answers, or an answer gets lost
 * though the thing was done; what was made a moment ago may have no leader yet.
 */
export async function untilAnswered<T>(ask: () => Promise<T>, forMs = defaultMs): Promise<T> {
  const until = performance.now() + forMs
  for (let waitMs = firstWaitMs; ; waitMs = Math.min(lastWaitMs, waitMs * 2)) {
    try {
      return await ask()
    } catch (error) {
      if (performance.now() + waitMs > until || !passes(error)) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs))
  }
}

function passes(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause)
    if (error instanceof errors.TimeoutError || error instanceof errors.NoRespondersError || isTransient(error)) return true
  return false
}
