import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { openEngine } from '../../src/engines/registry.ts'
import { override } from '../../src/testing/models/wrapping.ts'
import { conformance } from '../../src/testing/suite.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
afterAll(() => rm(dir, { recursive: true, force: true }))

const tests = await conformance({ name: 'embedded', open: () => openEngine(`file:${dir}`, {}) })
describe('the embedded engine', () => {
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())
})

// A store in memory belongs to one engine: here several buses share it, and none closes it.
const memory = await openEngine('memory:', {})
const shared: Engine = override(memory, { close: async () => {} })
const memoryTests = await conformance({ name: 'memory', open: async () => shared })
describe('the store in memory', () => {
  afterAll(() => memory.close())
  for (const one of memoryTests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())
})
