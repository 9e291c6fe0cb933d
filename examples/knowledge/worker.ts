// One worker: a process of its own, a member of the group. Kill it: the others go on with what it held.
import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { DeliveryContext, Message } from '../../src/index.ts'
import { sha256 } from './catalogue.ts'
import { DocumentIndex } from './document-index.ts'
import { documents, jobs, openBus } from './documents.ts'
import { split } from './split.ts'

/** What a worker tells the terminal. */
export interface WorkerStatus {
  readonly handled: number
  readonly failed: number
  readonly running: number
  /** Failed, and waiting to be tried again. */
  readonly delayed: number
  readonly now: readonly { readonly path: string; readonly fraction: number; readonly note: string | undefined }[]
}

const [store, pace] = process.argv.slice(2) as [string, string]
const index = new DocumentIndex(store)
const bus = await openBus(store)

async function handle(message: Message<{ path: string }, { operation: string }>, delivery: DeliveryContext): Promise<void> {
  const { path } = message.body
  delivery.progress(0, 'reading')
  const bytes = message.params.operation === 'deleted' ? undefined : await read(path, delivery.signal)
  if (!bytes) {
    index.remove(path, delivery.fence)
    return
  }
  // Throws at bytes that are no UTF-8. It is tried again, as it may be half written; then it is a dead letter.
  const pieces = split(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  for (const [i] of pieces.entries()) {
    delivery.progress(i / pieces.length, `piece ${i + 1} of ${pieces.length}`)
    await embed(pieces.length, delivery.signal)
  }
  index.put(path, sha256(bytes), pieces, delivery.fence)
}

/** Undefined when the file is gone: its deletion was told, or will be. */
async function read(path: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path, { signal })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Where a model would be called: takes its part of the time that `--pace` gives to a document. */
async function embed(pieces: number, signal: AbortSignal): Promise<void> {
  if (Number(pace) > 0) await pause(Number(pace) / pieces, undefined, { signal })
}

const work = await bus.subscribe(documents, jobs, handle)
const report = setInterval(() => {
  const { handled, failed, running, delayed, progress } = work.status()
  const now = progress.map(({ key, fraction, note }) => ({ path: key!, fraction, note }))
  process.send?.({ handled, failed, running, delayed, now } satisfies WorkerStatus)
}, 200)

function stop(): void {
  clearInterval(report)
  void bus.close().then(() => process.exit(0))
}
// Ctrl-C reaches every process of the terminal; the one that started us decides when we stop, and that it is gone says so too.
process.on('SIGINT', () => {})
process.on('SIGTERM', stop)
process.on('disconnect', stop)
