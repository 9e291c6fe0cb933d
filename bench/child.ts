import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { command } from '../test/rig/install.ts'
import { guardProcess } from '../test/rig/orphans.ts'
import { processorOf } from './processor.ts'
import { peakOf } from './sides/watch.ts'

export interface Ended {
  readonly printed: string
  /** Seconds of processor that it used from its start to its end. */
  readonly cpu: number | undefined
  /** MB, looked at every 20 ms: what it took in its last moment may be missing. */
  readonly peak: number | undefined
}

/** Runs it to its end; rejects with what it printed last. No other child of this process may end meanwhile. */
export async function ended(program: string, args: readonly string[]): Promise<Ended> {
  const before = processorOf('self', 'children')
  let peak: number | undefined
  let looking: NodeJS.Timeout | undefined
  const printed = await command(program, args, {
    started: (pid) => {
      looking = setInterval(() => {
        peak = peakOf(pid) ?? peak
      }, 20)
    },
  }).finally(() => clearInterval(looking))
  const after = processorOf('self', 'children')
  return { printed, cpu: before === undefined || after === undefined ? undefined : after - before, peak }
}

/** Resolves once it has printed something; call what it resolves to, to end it. */
export async function serving(program: string, args: readonly string[]): Promise<() => Promise<void>> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const unguard = child.pid === undefined ? () => {} : guardProcess(child.pid)
  const gone = once(child, 'exit').then(unguard)
  await Promise.race([
    once(child.stdout, 'data'),
    gone.then(() => {
      throw new Error(`${program} ${args[0]} ended before it served`)
    }),
  ])
  return () => {
    child.kill()
    return gone
  }
}
