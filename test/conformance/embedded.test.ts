import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { openEngine } from '../../src/engines/registry.ts'
import { certify } from './certify.ts'
import { share } from './share.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
const memory = await openEngine('memory:', {})
afterAll(async () => {
  await memory.close()
  await rm(dir, { recursive: true, force: true })
})

await certify('the embedded engine', () => ({ name: 'embedded', open: () => openEngine(`file:${dir}`, {}) }))
await certify('the store in memory', () => ({ name: 'memory', open: async () => share(memory) }))
