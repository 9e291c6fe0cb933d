import { readFileSync } from 'node:fs'
import type { Figures } from '../figures.ts'

/** Seconds by the clock, and of this process's processor. */
export interface Phase {
  readonly seconds: number
  readonly cpu: number
}

/** From now until what is returned is called. */
export function watch(): () => Phase {
  const begun = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return { seconds: (performance.now() - begun) / 1000, cpu: (user + system) / 1e6 }
  }
}

export const figuresOf = (count: number, { seconds, cpu }: Phase): Figures => ({ rate: count / seconds, cpu: (cpu * 1e6) / count })

/** Of times in ms. */
export function percentiles(times: readonly number[]): Figures {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (part: number): number => sorted[Math.ceil(part * sorted.length) - 1]!
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/** MB that the kernel saw resident at most; `maxRSS` would count what the parent had when it started this one. Undefined where there is no /proc. */
export function peakOf(pid: number | 'self'): number | undefined {
  try {
    const kilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1000
  } catch {
    return undefined
  }
}

/**
 * Resolves when `took` has been called so often: how long that took, from the first call on, or from a later one, or from `begin` where
 * that comes before. Rejects where a minute goes by without a call.
 */
export function counted(count: number, from = 1): { readonly took: () => void; readonly begin: () => void; readonly all: Promise<Phase> } {
  const { promise: all, resolve, reject } = Promise.withResolvers<Phase>()
  let taken = 0
  let measured: (() => Phase) | undefined
  let seen = -1
  const patience = setInterval(() => {
    if (taken === seen) reject(new Error(`${taken} of ${count} came`))
    seen = taken
  }, 60_000)
  const begin = (): void => {
    measured ??= watch()
  }
  const took = (): void => {
    taken++
    if (taken === from) begin()
    if (taken !== count) return
    clearInterval(patience)
    resolve(measured!())
  }
  return { took, begin, all }
}
