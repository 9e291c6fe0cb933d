import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { goProgram } from '../../test/coze/go-program.ts'
import { command } from '../../test/rig/install.ts'
import { type Spread, spread } from '../spread.ts'
import type { Measured, Running } from './brokers.ts'
import type { Phases } from './phases.ts'

export const size = 256
// As many as make what a client fetches before its first message comes count for little.
const count = 200_000

export interface Side {
  /** Messages a second. */
  readonly rate: Spread
  /** Seconds of the client's processor for a million messages. */
  readonly cpu: Spread
}
export interface Rates {
  readonly publish: { readonly ours: Side; readonly peer: Side; readonly ratio: Spread }
  readonly consume: { readonly ours: Side; readonly peer: Side; readonly ratio: Spread }
}

/** Ours and its peer in turn on one broker, each round in processes and on topics of its own; a first round warms up and counts nowhere. */
export async function rates({ peer, start }: Measured, rounds: number): Promise<Rates> {
  const program = peer.go === undefined ? undefined : await goProgram(join(import.meta.dirname, '..', 'peers'))
  await using running = await start()
  const folder = mkdtempSync(join(tmpdir(), 'cozebus-engines-'))
  try {
    const all: { ours: Phases; peer: Phases }[] = []
    for (let round = 0; round <= rounds; round++) {
      const sides = {
        ours: () => ours(running, folder, `ours-${round}`),
        peer: () => (program === undefined ? node(peer.file!, running, round) : go(program, peer.go!, running, round)),
      }
      const measured: Partial<Record<'ours' | 'peer', Phases>> = {}
      for (const side of round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const)) measured[side] = await sides[side]()
      if (round > 0) all.push(measured as { ours: Phases; peer: Phases })
    }
    return { publish: compare(all, 'publish'), consume: compare(all, 'consume') }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function compare(all: readonly { ours: Phases; peer: Phases }[], phase: keyof Phases): Rates['publish'] {
  const side = (name: 'ours' | 'peer'): Side => ({
    rate: spread(all.map((round) => count / round[name][phase].seconds)),
    cpu: spread(all.map((round) => (round[name][phase].cpu * 1e6) / count)),
  })
  return { ours: side('ours'), peer: side('peer'), ratio: spread(all.map(({ ours, peer }) => peer[phase].seconds / ours[phase].seconds)) }
}

const work = (topic: string): string[] => ['--topic', topic, '--group', `${topic}-group`, '--count', `${count}`, '--size', `${size}`]

const outcome = async (program: string, args: readonly string[], cwd?: string): Promise<Phases> =>
  JSON.parse((await command(program, args, cwd === undefined ? {} : { cwd })).trim().split('\n').at(-1)!)

function ours(running: Running, folder: string, topic: string): Promise<Phases> {
  const own = ['--url', running.url, '--ledger', `file:${folder}`, '--options', JSON.stringify(running.options ?? {})]
  return outcome(process.execPath, [join(import.meta.dirname, 'ours.ts'), ...own, ...work(topic)], folder)
}

const node = (file: string, running: Running, round: number): Promise<Phases> =>
  outcome(process.execPath, [join(import.meta.dirname, file), '--url', running.address, ...work(`peer-${round}`)])

const go = (program: string, broker: string, running: Running, round: number): Promise<Phases> =>
  outcome(program, ['--broker', broker, '--url', running.address, ...work(`peer-${round}`)])
