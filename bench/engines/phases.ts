import { counted, type Phase, watch } from '../sides/watch.ts'

export interface Phases {
  readonly publish: Phase
  readonly consume: Phase
}

/**
 * Runs both and prints what they took as one line of JSON. Taking is measured from when `consume` resolves, or the first message where
 * that comes before, to the last message: joining a group is not in it, but whatever is fetched is.
 */
export async function finish(count: number, publish: () => Promise<void>, consume: (took: () => void) => Promise<void>): Promise<void> {
  const published = watch()
  await publish()
  const phases = { publish: published() }
  const { took, begin, all } = counted(count)
  await consume(took)
  begin()
  process.stdout.write(`${JSON.stringify({ ...phases, consume: await all } satisfies Phases)}\n`)
}
