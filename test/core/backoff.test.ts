import { expect, test } from 'vitest'
import { backoffMs } from '../../src/deliver/backoff.ts'

const policy = { initialMs: 2000, factor: 3, maxMs: 600_000, jitter: 'full' } as const
/** Failures in a row, and the step after them. */
const steps = [
  [1, 2000],
  [2, 6000],
  [3, 18_000],
  [6, 486_000],
  [7, 600_000],
  [2000, 600_000],
] as const

test.each(steps)('R4: after %i failures the delay is drawn evenly from 0 to %i ms', (failures, step) => {
  const drawn = [0, 0.25, 0.5, 0.75, 1].map((random) => backoffMs(policy, failures, () => random))
  expect(drawn).toEqual([0, step / 4, step / 2, (3 * step) / 4, step])
  const many = Array.from({ length: 1000 }, () => backoffMs(policy, failures))
  expect(Math.min(...many)).toBeLessThan(step * 0.05)
  expect(Math.max(...many)).toBeGreaterThan(step * 0.95)
  expect(Math.max(...many)).toBeLessThanOrEqual(step)
})

test.each(steps)('R4: without jitter the delay after %i failures is %i ms', (failures, step) => {
  expect(backoffMs({ ...policy, jitter: 'none' }, failures)).toBe(step)
})
