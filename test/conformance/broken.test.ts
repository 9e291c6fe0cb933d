import { afterAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { openEngine } from '../../src/engines/registry.ts'
import type { Subject } from '../../src/testing/harness.ts'
import { type BrokenEngine, brokenEngines } from '../../src/testing/models/broken.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { conformance } from '../../src/testing/suite.ts'
import { share } from './share.ts'
import { modelSubject } from './subjects.ts'

const memory = await openEngine('memory:', {})
const opened = new Set<Engine>()
afterAll(async () => {
  // Some of the broken ones do not close what they wrap.
  await Promise.allSettled([...opened].map((engine) => engine.close()))
  await memory.close()
})

/** The first in which the defect can show, by the engine's own capabilities. */
const bases: readonly (() => Subject)[] = [
  () => modelSubject('log', logModel()),
  () => modelSubject('queue', queueModel()),
  () => ({ name: 'memory', open: async () => share(memory) }),
]

async function baseFor({ shows }: BrokenEngine): Promise<() => Subject> {
  for (const base of bases) {
    const probe = await base().open()
    const fits = shows?.(probe.capabilities) ?? true
    await probe.close()
    if (fits) return base
  }
  throw new Error('no base shows it')
}

/** Over one base; with the defect, or without, and as patient: a wait that is too short for a busy machine must not pass for a catch. */
function subjectOver(base: Subject, broken: BrokenEngine | undefined): Subject {
  if (!broken) return base
  const open = async (): Promise<Engine> => {
    const engine = await base.open()
    opened.add(engine)
    return broken.wrap(engine)
  }
  return { ...base, open }
}

const seed = 7

describe.concurrent('the suite catches broken engines', () => {
  for (const broken of brokenEngines) {
    test(`${broken.rule}: ${broken.name}`, async () => {
      const base = await baseFor(broken)
      const names: string[] = []
      for (const [i, one] of (await conformance(subjectOver(base(), broken))).entries()) {
        if (one.rule !== broken.rule || one.skip !== undefined) continue
        names.push(one.name)
        const error = await one.run(seed).then(
          () => undefined,
          (thrown: Error) => thrown,
        )
        if (!error) continue
        // The case is right to complain of the defect only if it has nothing to say without it.
        await (await conformance(subjectOver(base(), undefined)))[i]!.run(seed)
        return
      }
      expect.fail(`${broken.breaks}: not noticed by ${names.join('; ') || 'any case, for none applies'}`)
    }, 120_000)
  }
})
