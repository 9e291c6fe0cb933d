import { mock } from 'node:test'
import { type Duration, toMs } from '../message/duration.ts'

// The real one: what takes no time goes on while the clock stands.
const { setImmediate } = globalThis

/** Timers that are set while the clock moves are late by no more than this, or by 1/20 000 of the way. */
const stepMs = 10
const stepsMost = 20_000
/** Turns of the event loop that a chain of promises and immediates may take until it sets its next timer. */
const turns = 2
const turnsAtEnd = 20

/** Time that stands still until it is told to move: `Date`, `setTimeout` and `setInterval` of this process. */
export interface FakeClock {
  /** Moves time on, letting everything run that comes due on the way. */
  advance(by: Duration): Promise<void>
  /** Time is real again. */
  restore(): void
  [Symbol.dispose](): void
}

/**
 * Stops the clock of this process, by `mock.timers` of `node:test`, under any test runner. It drives a bus whose engine
 * runs in this thread ({@link testBus}); the embedded store runs in a thread of its own, where time stays real.
 */
export function fakeClock(): FakeClock {
  mock.timers.enable({ apis: ['Date', 'setTimeout', 'setInterval'], now: Date.now() })
  const restore = (): void => mock.timers.reset()
  return {
    async advance(by) {
      const ms = toMs(by, 'advance')
      const step = Math.max(stepMs, Math.ceil(ms / stepsMost))
      await loop(turnsAtEnd)
      for (let left = ms; left > 0; left -= step) {
        mock.timers.tick(Math.min(step, left))
        await loop(turns)
      }
      await loop(turnsAtEnd)
    },
    restore,
    [Symbol.dispose]: restore,
  }
}

async function loop(times: number): Promise<void> {
  for (let i = 0; i < times; i++) await new Promise((resolve) => setImmediate(resolve))
}
