/** Seconds by the clock, and of this process's processor. */
export interface Phase {
  readonly seconds: number
  readonly cpu: number
}
export interface Phases {
  readonly publish: Phase
  readonly consume: Phase
}

function watch(): () => Phase {
  const begun = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return { seconds: (performance.now() - begun) / 1000, cpu: (user + system) / 1e6 }
  }
}

/**
 * Runs both and prints what they took as one line of JSON. Taking is measured from when `consume` resolves, or the first message where
 * that comes before, to the last message: joining a group is not in it, but whatever is fetched is.
 */
export async function finish(count: number, publish: () => Promise<void>, consume: (took: () => void) => Promise<void>): Promise<void> {
  const published = watch()
  await publish()
  const phases = { publish: published() }
  let taken = 0
  let consumed: (() => Phase) | undefined
  const all = Promise.withResolvers<Phase>()
  const patience = setTimeout(() => all.reject(new Error(`${taken} of ${count} came`)), 120_000)
  await consume(() => {
    consumed ??= watch()
    if (++taken === count) all.resolve(consumed())
  })
  consumed ??= watch()
  const phase = await all.promise
  clearTimeout(patience)
  process.stdout.write(`${JSON.stringify({ ...phases, consume: phase } satisfies Phases)}\n`)
}
