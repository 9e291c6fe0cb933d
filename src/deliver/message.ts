import type { Headers } from '../message/headers.ts'

/** A message as a handler gets it. */
export interface Message<Body = any, P = Record<string, string>> {
  /** The message's own id; the same over retries and replays. */
  readonly id: string
  /** The full name it was published under. */
  readonly topic: string
  readonly params: P
  readonly key: string | undefined
  readonly body: Body
  /** The bytes as they came. */
  readonly bytes: Uint8Array
  readonly headers: Headers
  readonly publishedAt: Date
}

/** One hand-over of a message. */
export interface DeliveryContext {
  /** 1 for the first; grows with each failure of the handler and each replay's failures anew. */
  readonly attempt: number
  /** Aborts when the lease is lost, the timeout passes, or the drain's deadline does. */
  readonly signal: AbortSignal
  /** Grows with each new owner: a store that keeps the highest one seen can refuse a late writer. */
  readonly fence: number
  /** How far the handler is, 0 to 1, for status and console. */
  progress(fraction: number, note?: string): void
}
