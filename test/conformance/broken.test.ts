import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { openEngine } from '../../src/engines/registry.ts'
import { brokenEngines } from '../../src/testing/models/broken.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { conformance } from '../../src/testing/suite.ts'

/** Each is broken over the log model, or over the embedded engine where the log model lacks what it breaks. */
const overEmbedded = new Set(['never-extends'])
/** Not shown by any case yet, or hidden by the core, which keeps the delay itself; docs/testing.md says so. */
const notCaught = new Set([
  'confirms-before-storing',
  'delivers-after-stop',
  'hides-lost-leases',
  'ignores-delay',
  'hot-loops',
  'ignores-dedupe',
  'one-failure-hides-the-batch',
  'over-delivers',
  'released-is-overtaken',
])

const dirs: string[] = []
afterAll(() => Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true }))))

describe('the suite catches broken engines', () => {
  for (const broken of brokenEngines) {
    test.skipIf(notCaught.has(broken.name)).concurrent(
      `${broken.rule}: ${broken.name}${notCaught.has(broken.name) ? ' (no case shows it, see docs/testing.md)' : ''}`,
      async () => {
        const broker = logModel()
        const embedded = overEmbedded.has(broken.name)
        const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
        dirs.push(dir)
        const open = async (): Promise<Engine> => broken.wrap(await (embedded ? openEngine(`file:${dir}`, {}) : broker.connect()))
        const tests = await conformance({ name: broken.name, ledger: memoryLedger(), open })
        const failures: string[] = []
        await Promise.all(
          tests
            .filter((one) => one.skip === undefined)
            .map((one) => one.run(7).catch((error: Error) => void failures.push(`${one.name}: ${error.message}`))),
        )
        expect(
          failures.some((text) => text.includes(broken.rule) || (broken.rule === 'delay' && text.includes('delayed'))),
          failures.join('\n'),
        ).toBe(true)
      },
      60_000,
    )
  }
})
