import { BusError } from '../errors.ts'

/** Milliseconds, or a number with a unit: `'250ms'`, `'30s'`, `'5m'`, `'2h'`, `'7d'`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

/** Node runs a timer that is set for longer at once. */
export const longestTimerMs = 2 ** 31 - 1

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/**
 * A duration in milliseconds.
 * @throws BusError `invalid_argument` for anything negative, not finite, or of an unknown unit
 */
export function toMs(duration: Duration, name = 'duration'): number {
  if (typeof duration === 'number') {
    if (Number.isFinite(duration) && duration >= 0) return duration
  } else {
    const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration)
    if (parts) return Number(parts[1]) * unitMs[parts[2] as keyof typeof unitMs]
  }
  throw new BusError('invalid_argument', `${name}: '${duration}' is no duration; give milliseconds or a text like '30s', '5m', '2h'`)
}
