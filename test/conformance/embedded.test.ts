import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { openEngine } from '../../src/engines/registry.ts'
import { conformance } from '../../src/testing/suite.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
afterAll(() => rm(dir, { recursive: true, force: true }))

const tests = await conformance({ name: 'embedded', open: () => openEngine(`file:${dir}`, {}) })
describe('the embedded engine', () => {
  for (const one of tests) test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())
})
