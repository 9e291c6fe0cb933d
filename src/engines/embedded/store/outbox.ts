import type { MessagePort } from 'node:worker_threads'
import type { Reply } from '../protocol.ts'

/**
 * What a turn says and changes in memory, kept back until the turn is committed: undone with it, or sent with it. One
 * message crosses to the main thread for the whole turn.
 */
export class Outbox {
  readonly #port: MessagePort
  #replies: Reply[] = []
  #buffers: ArrayBuffer[] = []
  #undo: (() => void)[] = []
  #then: (() => void)[] = []

  constructor(port: MessagePort) {
    this.#port = port
  }

  push(reply: Reply, buffers?: readonly ArrayBuffer[]): void {
    this.#replies.push(reply)
    if (buffers) this.#buffers.push(...buffers)
  }

  /** Called, last first, if the turn is rolled back. */
  undo(action: () => void): void {
    this.#undo.push(action)
  }

  afterCommit(action: () => void): void {
    this.#then.push(action)
  }

  committed(): void {
    const then = this.#then
    this.#then = []
    this.#undo = []
    for (const action of then) action()
  }

  rolledBack(): void {
    const undo = this.#undo.reverse()
    this.#undo = []
    this.#then = []
    this.#replies = []
    this.#buffers = []
    for (const action of undo) action()
  }

  send(): void {
    if (this.#replies.length === 0) return
    const replies = this.#replies
    const buffers = this.#buffers
    this.#replies = []
    this.#buffers = []
    this.#port.postMessage(replies, buffers)
  }
}
