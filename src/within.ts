import { longestTimerMs } from './message/duration.ts'

/** How long a drain waits for an engine to stop and to let go: one that is away may never answer. */
export const lastCallMs = 5000

/** Waits no longer than that. */
export async function within(ms: number, action: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    action,
    new Promise((resolve) => {
      timer = setTimeout(resolve, Math.min(ms, longestTimerMs))
    }),
  ])
  clearTimeout(timer)
}

/** What the action gives, unless it takes longer than that. @throws what `late` gives */
export async function inTime<T>(ms: number, action: Promise<T>, late: () => Error): Promise<T> {
  const { promise: over, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(late()), Math.min(ms, longestTimerMs))
  try {
    return await Promise.race([action, over])
  } finally {
    clearTimeout(timer)
  }
}
