/** Exponential backoff with full jitter: a delay drawn evenly from 0 to the step (AWS Architecture Blog, "Exponential Backoff And Jitter"). */
export interface Backoff {
  readonly initialMs: number
  readonly factor: number
  readonly maxMs: number
  readonly jitter: 'full' | 'none'
}

/** The delay after the `failures`-th failure in a row, ms. */
export function backoffMs(policy: Backoff, failures: number, random: () => number = Math.random): number {
  const step = Math.min(policy.maxMs, policy.initialMs * policy.factor ** (failures - 1))
  return policy.jitter === 'none' ? step : Math.round(step * random())
}
