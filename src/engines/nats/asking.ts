import { errors } from '@nats-io/transport-node'
import { isTransient } from './failure.ts'

const firstWaitMs = 20
const lastWaitMs = 500
const defaultMs = 10_000

/**
 * Asks the server for something that may be done twice. While leaders change nobody answers, or an answer gets lost
 * though the thing was done; what was made a moment ago may have no leader yet.
 */
export function untilAnswered<T>(ask: () => Promise<T>, forMs = defaultMs): Promise<T> {
  return until(ask, forMs, (error) => error instanceof errors.TimeoutError || nobodyHeard(error) || isTransient(error))
}

/** The same for what must not be done twice: only where nobody has heard it. */
export function untilHeard<T>(ask: () => Promise<T>): Promise<T> {
  return until(ask, defaultMs, nobodyHeard)
}

function nobodyHeard(error: Error): boolean {
  return error instanceof errors.NoRespondersError
}

async function until<T>(ask: () => Promise<T>, forMs: number, passes: (error: Error) => boolean): Promise<T> {
  const end = performance.now() + forMs
  for (let waitMs = firstWaitMs; ; waitMs = Math.min(lastWaitMs, waitMs * 2)) {
    try {
      return await ask()
    } catch (thrown) {
      if (performance.now() + waitMs > end || !hasCause(thrown, passes)) throw thrown
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs))
  }
}

function hasCause(thrown: unknown, passes: (error: Error) => boolean): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) if (passes(error)) return true
  return false
}
