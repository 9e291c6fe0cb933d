import { capabilities as declared } from './cases/capabilities.ts'
import type { Case } from './cases/case.ts'
import { contractAdmin } from './cases/contract-admin.ts'
import { contractDelivering } from './cases/contract-delivering.ts'
import { contractPublishing } from './cases/contract-publishing.ts'
import { contractSettling } from './cases/contract-settling.ts'
import { facets } from './cases/facets.ts'
import { failures } from './cases/failures.ts'
import { foreign } from './cases/foreign.ts'
import { groups } from './cases/groups.ts'
import { leases } from './cases/leases.ts'
import { matrix } from './cases/matrix.ts'
import { order } from './cases/order.ts'
import { publishing } from './cases/publishing.ts'
import { Harness, type Subject } from './harness.ts'

// The engine alone first: what it breaks by itself, the core may hide or blame on something else.
const cases: readonly Case[] = [
  ...contractPublishing,
  ...contractDelivering,
  ...contractSettling,
  ...contractAdmin,
  ...declared,
  ...publishing,
  ...foreign,
  ...groups,
  ...failures,
  ...order,
  ...leases,
  ...facets,
  ...matrix,
]

export interface SuiteTest {
  /** `R4: at the limit the message becomes a dead letter`. */
  readonly name: string
  readonly rule: string
  /** Why it does not apply, by the engine's own capabilities. */
  readonly skip: string | undefined
  /** Throws when the engine breaks the rule. The seed gives the workload; the same seed gives the same one. */
  run(seed?: number): Promise<void>
}

/** The conformance suite over one engine: hand its tests to any runner. */
export async function conformance(subject: Subject): Promise<SuiteTest[]> {
  const probe = await subject.open()
  const { capabilities } = probe
  const tests = cases.map((one) => ({
    name: `${one.rule}: ${one.name}`,
    rule: one.rule,
    skip: capabilities.durability === 'none' && !one.unstored ? 'the engine stores nothing' : one.skip?.(capabilities, probe, subject),
    async run(seed = Math.floor(Math.random() * 2 ** 31)) {
      const harness = new Harness(subject, one.name)
      try {
        await one.run(harness, seed)
      } catch (error) {
        // Whatever failed, the seed is what gives the same workload again.
        if (error instanceof Error && !error.message.includes('(seed ')) error.message += `\n(seed ${seed})`
        throw error
      } finally {
        await harness.end()
      }
    },
  }))
  await probe.close()
  return tests
}
