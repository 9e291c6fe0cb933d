import { BusError } from '../../errors.ts'
import type { ReplyMessage, RequestMessage, Requests } from '../engine.ts'
import type { Link } from './link.ts'

/** Questions and answers by way of the store. */
export class EmbeddedRequests implements Requests {
  readonly #link: Link
  readonly #asked = new Map<number, { resolve(reply: ReplyMessage): void; reject(error: BusError): void }>()
  /** Answers that overtook the number of their question. */
  readonly #early = new Map<number, ReplyMessage>()
  readonly #responders = new Map<number, (message: RequestMessage) => Promise<ReplyMessage>>()
  #numbering = 0
  #next = 1

  constructor(link: Link) {
    this.#link = link
  }

  async request(message: RequestMessage, timeoutMs: number, signal?: AbortSignal): Promise<ReplyMessage> {
    const aborted = (): BusError => new BusError('aborted', `the request to '${message.name}' was aborted`, { cause: signal?.reason })
    if (signal?.aborted) throw aborted()
    this.#numbering++
    let question: number
    try {
      question = await this.#link.call('ask', message, timeoutMs)
    } finally {
      this.#numbering--
    }
    const early = this.#early.get(question)
    if (this.#numbering === 0) this.#early.clear()
    else this.#early.delete(question)
    if (early) return early
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#asked.delete(question)
      }
      const give = (error: BusError): void => {
        end()
        this.#link.call('withdraw', question).catch(() => {})
        reject(error)
      }
      const abort = (): void => give(aborted())
      const timer = setTimeout(
        () =>
          give(
            new BusError(
              'timeout',
              `nobody answered '${message.name}' within ${timeoutMs} ms; ask with a longer timeout, or see whether its responder hangs`,
            ),
          ),
        timeoutMs,
      )
      signal?.addEventListener('abort', abort, { once: true })
      this.#asked.set(question, {
        resolve: (reply) => {
          end()
          resolve(reply)
        },
        reject: give,
      })
      if (signal?.aborted) abort()
    })
  }

  answered(question: number, reply: ReplyMessage): void {
    const waiting = this.#asked.get(question)
    if (waiting) waiting.resolve(reply)
    else if (this.#numbering > 0) this.#early.set(question, reply)
  }

  async respond(
    pattern: string,
    group: string,
    listener: (message: RequestMessage) => Promise<ReplyMessage>,
  ): Promise<{ close(): Promise<void> }> {
    const id = this.#next++
    this.#responders.set(id, listener)
    try {
      await this.#link.call('respond', id, pattern, group)
    } catch (error) {
      this.#responders.delete(id)
      throw error
    }
    this.#link.hold()
    let closed: Promise<void> | undefined
    return {
      close: () => {
        closed ??= this.#link.call('unrespond', id).finally(() => {
          this.#responders.delete(id)
          this.#link.release()
        })
        return closed
      },
    }
  }

  close(): void {
    for (const { reject } of [...this.#asked.values()]) reject(new BusError('closed', 'the bus was closed before the answer came'))
  }

  asked(responder: number, question: number, message: RequestMessage): void {
    const listener = this.#responders.get(responder)
    // Between the end of a responder and its last question nobody is left to answer: the asker's time runs out.
    if (!listener) return
    listener(message)
      .then((reply) => this.#link.call('answer', responder, question, reply))
      .catch(() => {})
  }
}
