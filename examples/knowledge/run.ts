import { setTimeout as pause } from 'node:timers/promises'
import type { Bus } from '../../src/index.ts'
import { Catalogue } from './catalogue.ts'
import { Crew } from './crew.ts'
import { Display, nearer } from './display.ts'
import { DocumentIndex } from './document-index.ts'
import { documents, group, openBus } from './documents.ts'
import { publishChanges } from './publisher.ts'

export interface Run {
  readonly store: string
  readonly workers: number
  readonly pace: number
  readonly folder?: string
  readonly types?: readonly string[]
  readonly knowledge?: string
  /** Goes on until Ctrl-C. */
  readonly watch?: boolean
  readonly replay?: boolean
}

const drawEveryMs = 100
const lookEveryMs = 1000
const lettersShown = 5

/** Publishes what there is to publish, with workers beside, and shows how they get on. Resolves to an exit code. */
export async function run(options: Run): Promise<number> {
  const { store, folder, watch, replay } = options
  const display = new Display()
  const index = new DocumentIndex(store)
  const catalogue = new Catalogue(store, options.types ?? [])
  const interrupted = onInterrupt(() => display.say('finishing what is in hand… (once more to quit at once)'))
  const bus = await openBus(store)
  let crew: Crew | undefined

  const look = async (): Promise<number> => {
    if (folder === undefined) return 0
    const { added, updated, deleted } = await publishChanges(bus, catalogue, folder, options.knowledge ?? 'local')
    if (added + updated + deleted > 0) display.say(`${nearer(folder)}: ${added} added, ${updated} updated, ${deleted} deleted`)
    return added + updated + deleted
  }

  try {
    let total = (await stateOf(bus)).lag
    if (replay) total += await replayAll(bus, display)
    total += await look()
    if (total === 0 && folder !== undefined) display.say(`${nearer(folder)}: nothing has changed`)
    if (total > 0 || watch) crew = new Crew(options.workers, [store, String(options.pace)], (line) => display.say(line))
    let lookedAt = Date.now()
    while (crew && !interrupted.aborted && !crew.failed) {
      const { lag, deadLetters } = await stateOf(bus)
      total = Math.max(total, lag)
      display.show({ done: total - lag, total, deadLetters, documents: index.size.documents, seats: crew.seats })
      if (lag === 0 && !watch) break
      if (Date.now() - lookedAt >= lookEveryMs && watch) {
        // What fails now, a folder that is being moved for one, is looked at again a second later.
        total += await look().catch((error: Error) => {
          display.say(`the folder was not looked at: ${error.message}`)
          return 0
        })
        lookedAt = Date.now()
      }
      await pause(drawEveryMs)
    }
  } finally {
    await crew?.stop()
    await summary(bus, index, display)
    await bus.close()
    catalogue.close()
    index.close()
  }
  if (crew?.failed) display.say('the workers die as soon as they start; see above')
  return crew?.failed ? 1 : interrupted.aborted && !watch ? 130 : 0
}

/** A group appears with its first member. */
async function stateOf(bus: Bus): Promise<{ lag: number; deadLetters: number }> {
  const state = (await bus.admin.groups(documents)).find((info) => info.group === group)
  if (state) return state
  const stored = (await bus.admin.topics()).find(({ storage }) => storage === documents.storage)
  return { lag: stored?.messages ?? 0, deadLetters: 0 }
}

async function replayAll(bus: Bus, display: Display): Promise<number> {
  const count = await bus.admin.deadLetters(documents, group).replay({})
  display.say(`${count} dead letters replayed`)
  return count
}

async function summary(bus: Bus, index: DocumentIndex, display: Display): Promise<void> {
  const desk = bus.admin.deadLetters(documents, group)
  const { size } = index
  const [letters, count] = [await desk.list({ limit: lettersShown }), await desk.count()]
  display.say(`${size.documents} documents in ${size.pieces} pieces, ${count} dead letters`)
  for (const { key, error } of letters) display.say(`  ${nearer(key ?? '-')}: ${error}`)
  if (count > 0) display.say('mend them, then: npm run example:knowledge -- replay')
}

/** Aborts at the first Ctrl-C or SIGTERM; a second one ends the process at once. */
function onInterrupt(say: () => void): AbortSignal {
  const controller = new AbortController()
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(130)
    controller.abort()
    say()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  return controller.signal
}
