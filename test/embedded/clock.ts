// Preloaded into processes of clock.test.ts: their clock, in the main thread and in the store's, is shifted by what a file says.
import { readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import threads from 'node:worker_threads'

const file = process.env.SHIFT_FILE!
const now = Date.now
let shiftMs = 0
let readAt = Number.NEGATIVE_INFINITY
Date.now = () => {
  if (performance.now() - readAt > 2) {
    readAt = performance.now()
    shiftMs = Number(readFileSync(file, 'utf8')) || shiftMs
  }
  return now() + shiftMs
}
// A worker with options of its own does not inherit this preload.
if (threads.isMainThread) {
  const { Worker } = threads
  threads.Worker = class extends Worker {
    constructor(url: URL, options: threads.WorkerOptions) {
      super(url, { ...options, execArgv: [...(options.execArgv ?? []), '--import', import.meta.url] })
    }
  } as typeof Worker
  syncBuiltinESMExports()
}
