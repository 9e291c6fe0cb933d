import type { Handler } from '../deliver/handler.ts'
import type { DeliveryContext, Message } from '../deliver/message.ts'
import { type Duration, toMs } from '../message/duration.ts'

// The real ones, whatever a fake clock does to the global ones later.
const { setTimeout, clearTimeout } = globalThis

/** One run of the handler. */
export interface SpyRun<Body = any, P = Record<string, string>> {
  readonly message: Message<Body, P>
  readonly attempt: number
  /** What it failed with; absent = it did not. */
  readonly error?: unknown
}

/** A handler that records what it gets. Hand it to `bus.subscribe`. */
export interface Spy<Body = any, P = Record<string, string>> {
  (message: Message<Body, P>, delivery: DeliveryContext): Promise<unknown>
  /** Messages handled without a failure, in the order in which they were finished. */
  readonly messages: readonly Message<Body, P>[]
  /** Every run, failures included. */
  readonly runs: readonly SpyRun<Body, P>[]
  /** The next runs fail with the error, before the handler is called. Default: one run. */
  failNext(error?: unknown, times?: number): void
  /** Resolves to `messages` once there are so many. Rejects after the timeout (of real time, default `'5s'`) with what there is. */
  waitFor(count: number, timeout?: Duration): Promise<readonly Message<Body, P>[]>
}

/** A recording handler around your own, or around one that accepts everything. */
export function spy<Body = any, P = Record<string, string>>(handler: Handler<Body, P> = () => {}): Spy<Body, P> {
  const messages: Message<Body, P>[] = []
  const runs: SpyRun<Body, P>[] = []
  const failures: unknown[] = []
  const waiters = new Set<() => void>()

  const record = async (message: Message<Body, P>, delivery: DeliveryContext): Promise<unknown> => {
    const { attempt } = delivery
    try {
      if (failures.length > 0) throw failures.shift()
      const result = await handler(message, delivery)
      messages.push(message)
      runs.push({ message, attempt })
      for (const look of [...waiters]) look()
      return result
    } catch (error) {
      runs.push({ message, attempt, error })
      throw error
    }
  }

  return Object.assign(record, {
    messages,
    runs,
    failNext(error: unknown = new Error('the spy was told to fail'), times = 1) {
      for (let i = 0; i < times; i++) failures.push(error)
    },
    waitFor(count: number, timeout: Duration = '5s'): Promise<readonly Message<Body, P>[]> {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => {
            waiters.delete(look)
            const failed = runs.filter((run) => 'error' in run).length
            reject(new Error(`waited ${timeout} for ${count} messages; ${messages.length} were handled and ${failed} runs failed`))
          },
          toMs(timeout, 'timeout'),
        )
        const look = (): void => {
          if (messages.length < count) return
          clearTimeout(timer)
          waiters.delete(look)
          resolve(messages)
        }
        waiters.add(look)
        look()
      })
    },
  })
}
