import type { Mode } from './store.ts'

/** No turn is long. */
export const turnMessages = 2000
const turnBytes = 8 * 1024 * 1024

/** Something asked of the store, until its turn. */
export interface Operation {
  readonly call: number
  readonly mode: Mode
  readonly messages: number
  readonly bytes: number
  run(now: number): void
}

/** What of the queue makes up the next turn, from its front on. */
export function gather(queue: readonly Operation[]): Operation[] {
  const batch: Operation[] = []
  let messages = 0
  let bytes = 0
  for (const operation of queue) {
    messages += operation.messages
    bytes += operation.bytes
    if (batch.length > 0 && (operation.mode === 'alone' || messages > turnMessages || bytes > turnBytes)) break
    batch.push(operation)
    if (operation.mode === 'alone') break
  }
  return batch
}
