import { counted, type Phase, watch } from '../sides/watch.ts'

export interface Phases {
  readonly publish: Phase
  readonly consume: Phase
}

/** Runs both and prints what they took as one line of JSON. Taking is measured from the first message to the last: joining a group is not in it. */
export async function finish(count: number, publish: () => Promise<void>, consume: (took: () => void) => Promise<void>): Promise<void> {
  const published = watch()
  await publish()
  const phases = { publish: published() }
  const { took, all } = counted(count)
  await consume(took)
  process.stdout.write(`${JSON.stringify({ ...phases, consume: await all } satisfies Phases)}\n`)
}
