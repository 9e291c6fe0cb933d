import type { Pool } from './connection.ts'
import { unavailable } from './failure.ts'
import { request } from './protocol.ts'
import { pulled, pullFields } from './pulling.ts'
import type { QueuePart } from './queue-part.ts'

/** What is pulled ahead of each queue, and of all. */
const aheadOfPart = 1024 * 1024
const aheadOfAll = 16 * 1024 * 1024
const pullWaitMs = 10_000
/** A broker looks at those who wait every five seconds. */
const answerMs = 12_000
const againMs = 200

export interface PullingAheadParts {
  readonly pool: Pool
  readonly owned: () => Iterable<QueuePart>
  readonly isOurs: (part: QueuePart) => boolean
  /** The queue ends before what was read of it: whether that is so, and it was given up. */
  readonly beganAnew: (part: QueuePart) => Promise<boolean>
  readonly state: () => 'open' | 'stopped' | 'closed'
  readonly wake: () => void
  readonly trouble: (topic: string, error: unknown) => void
}

/** Reads the queues that are owned, as far ahead of what is handed out as there is room for. */
export class PullingAhead {
  readonly #parts: PullingAheadParts
  readonly #paused = new Map<QueuePart, () => void>()

  constructor(parts: PullingAheadParts) {
    this.#parts = parts
  }

  /** As long as it is ours. */
  async pull(part: QueuePart): Promise<void> {
    const { pool, isOurs, state, wake, trouble } = this.#parts
    const { topic, queue, group } = part.place
    const what = `group '${group}' on topic '${topic}'`
    while (state() !== 'closed' && isOurs(part)) {
      if (!this.#may(part)) {
        await new Promise<void>((resolve) => this.#paused.set(part, resolve))
        this.#paused.delete(part)
        continue
      }
      try {
        const connection = await pool.to(queue.broker.address)
        const from = part.cursor
        const askedAt = performance.now()
        const fields = pullFields(topic, queue.id, from, pullWaitMs, group)
        const frame = await connection.ask(request.pull, fields, what, undefined, pullWaitMs + answerMs)
        const { messages, next, moved } = pulled(frame.code, frame.fields, frame.body, frame.remark, from, what)
        if (moved === true && (await this.#parts.beganAnew(part))) return
        part.push(messages, next)
        trouble(topic, undefined)
        if (messages.length > 0) wake()
        // What is answered at once, and with nothing, is not asked in a circle.
        else if (performance.now() - askedAt < againMs) await new Promise((resolve) => setTimeout(resolve, againMs))
      } catch (error) {
        trouble(topic, unavailable(error))
        await new Promise((resolve) => setTimeout(resolve, againMs))
      }
    }
  }

  #may(part: QueuePart): boolean {
    if (this.#parts.state() !== 'open' || part.leavingUntil !== undefined || part.buffered >= aheadOfPart) return false
    let all = 0
    for (const { buffered } of this.#parts.owned()) all += buffered
    return all < aheadOfAll
  }

  /** One that waited for room, or to be ours, looks again. */
  resume(part: QueuePart): void {
    this.#paused.get(part)?.()
  }

  /** Those that may go on. */
  resumeSome(): void {
    for (const [part, resume] of this.#paused) if (this.#may(part)) resume()
  }
}
