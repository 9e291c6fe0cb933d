import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterAll } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { openEngine } from '../../src/engines/registry.ts'
import { certify } from './certify.ts'
import { share } from './share.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
const memory = await openEngine('memory:', {})
afterAll(async () => {
  await memory.close()
  await rm(dir, { recursive: true, force: true })
})

/** The threads of the stores, by their engine: one that is ended frees its locks and says nothing, as a process that died. */
const threads = new Map<Engine, Worker>()
let beginning: Promise<unknown> = Promise.resolve()

/** Threads begin one after the other, so that each is known to be its engine's. */
async function open(): Promise<Engine> {
  const begun = beginning.then(() => {
    const thread = new Promise<Worker>((resolve) => process.once('worker', resolve))
    return { thread, engine: openEngine(`file:${dir}`, {}) }
  })
  beginning = begun.then(({ thread, engine }) => Promise.race([thread, engine])).catch(() => {})
  const { thread, engine } = await begun
  const opened = await engine
  threads.set(opened, await thread)
  return opened
}

await certify('the embedded engine', () => ({
  name: 'embedded',
  open,
  crash: async (engine) => void (await threads.get(engine)!.terminate()),
}))
await certify('the store in memory', () => ({ name: 'memory', open: async () => share(memory) }))
