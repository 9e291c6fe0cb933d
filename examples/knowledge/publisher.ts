import type { Bus } from '../../src/index.ts'
import type { Catalogue, Change } from './catalogue.ts'
import { documents, type Operation } from './documents.ts'

export type Told = Record<Operation, number>

/** Publishes an event for each file of the folder that is new, changed or gone since the last time. */
export async function publishChanges(bus: Bus, catalogue: Catalogue, folder: string, knowledgeId: string): Promise<Told> {
  const told: Told = { added: 0, updated: 0, deleted: 0 }
  const changes = Map.groupBy(catalogue.look(folder), ({ operation }) => operation)
  for (const [operation, ofIt] of changes) {
    const outcomes = await bus.publishMany(
      documents.with({ knowledgeId, operation }),
      ofIt.map(({ path }) => ({ path })),
    )
    const confirmed: Change[] = ofIt.filter((_, i) => outcomes[i]!.ok)
    catalogue.told(confirmed)
    told[operation] = confirmed.length
    const refused = outcomes.find((outcome) => !outcome.ok)
    // What is still open is published with the next look.
    if (refused && !refused.ok) throw refused.error
  }
  return told
}
