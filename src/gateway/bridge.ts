import { randomBytes } from 'node:crypto'
import type { Bus } from '../bus.ts'
import type { DeliveryContext, Message } from '../deliver/message.ts'
import { Reject, Retry } from '../deliver/outcome.ts'
import type { Subscription } from '../deliver/subscription.ts'
import type { ReadTopic } from '../topic/resolve.ts'

/** A message on its way: a handler of the bus waits for what the puller says of it. */
export interface Held {
  readonly token: string
  readonly message: Message
  readonly attempt: number
  readonly settle: (error?: unknown) => void
  timer?: NodeJS.Timeout
}

export type Verdict =
  | { readonly kind: 'ack' }
  | { readonly kind: 'retry'; readonly delayMs: number | undefined; readonly reason: string | undefined }
  | { readonly kind: 'reject'; readonly reason: string }
  /** Not done yet: the lease runs so long from now on. */
  | { readonly kind: 'extend'; readonly leaseMs: number }

/** The most messages out at once, over all pulls of a topic and group. */
export const mostHeld = 256
const idleMs = 60_000
/** Shorter while messages wait here that nobody pulls: other members of the group may want them. */
const unwantedMs = 5_000

/**
 * One topic and group for callers that pull: subscriptions of the bus on one side, pulls and settlements on the other.
 * It takes no more from the bus than pulls have asked for at once; closing gives back what is unsettled, and that counts
 * as no attempt.
 */
export class Bridge {
  readonly #bus: Bus
  readonly #place: () => Promise<ReadTopic>
  readonly #group: string
  readonly #onClose: () => void
  readonly #members: Subscription[] = []
  readonly #queue: Held[] = []
  readonly #held = new Map<string, Held>()
  readonly #wakes = new Set<() => void>()
  #capacity = 0
  #growing: Promise<void> = Promise.resolve()
  #wanted = 0
  #idle: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined

  constructor(bus: Bus, place: () => Promise<ReadTopic>, group: string, onClose: () => void) {
    this.#bus = bus
    this.#place = place
    this.#group = group
    this.#onClose = onClose
  }

  /** Waits for the first message at most `waitMs`, then gives what is there. The lease runs from here. */
  async pull(max: number, waitMs: number, leaseMs: number, signal: AbortSignal): Promise<Held[]> {
    const until = Date.now() + waitMs
    this.#wanted += max
    clearTimeout(this.#idle)
    try {
      await this.#grow()
      for (;;) {
        // Nobody there to read the answer: what it would hold stays here for the next one.
        if (signal.aborted || this.#closing) return []
        if (this.#queue.length > 0) return this.#queue.splice(0, max).map((held) => this.#lease(held, leaseMs))
        const leftMs = until - Date.now()
        if (leftMs <= 0) return []
        await this.#arrival(leftMs, signal)
      }
    } finally {
      this.#wanted -= max
      this.#rest()
    }
  }

  /** False for a token that is settled already, ran out, or was given to somebody else. */
  settle(token: string, verdict: Verdict): boolean {
    const held = this.#held.get(token)
    if (!held) return false
    if (verdict.kind === 'extend') {
      clearTimeout(held.timer)
      this.#lease(held, verdict.leaseMs)
      return true
    }
    this.#forget(held)
    if (verdict.kind === 'ack') held.settle()
    else if (verdict.kind === 'reject') held.settle(new Reject(verdict.reason))
    else
      held.settle(
        new Retry({
          reason: verdict.reason ?? 'the puller asked for a retry',
          ...(verdict.delayMs === undefined ? {} : { after: verdict.delayMs }),
        }),
      )
    return true
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearTimeout(this.#idle)
    this.#onClose()
    this.#wake()
    await this.#growing.catch(() => {})
    await Promise.allSettled(this.#members.map((member) => member.close({ deadlineMs: 0 })))
    for (const held of this.#held.values()) clearTimeout(held.timer)
    this.#held.clear()
    this.#queue.length = 0
  }

  /** As many places as pulls want and hold; more come as a further member, as the number of one is fixed. */
  #grow(): Promise<void> {
    const grow = this.#growing.then(async () => {
      const need = Math.min(mostHeld, this.#wanted + this.#held.size)
      if (this.#closing || need <= this.#capacity) return
      const more = Math.min(mostHeld - this.#capacity, Math.max(need - this.#capacity, this.#capacity))
      this.#members.push(await this.#bus.subscribe(await this.#place(), { group: this.#group, concurrency: more }, this.#handle))
      this.#capacity += more
    })
    this.#growing = grow.catch(() => {})
    return grow
  }

  #handle = (message: Message, delivery: DeliveryContext): Promise<void> =>
    new Promise((resolve, reject) => {
      const held: Held = {
        token: randomBytes(18).toString('base64url'),
        message,
        attempt: delivery.attempt,
        settle: (error) => (error === undefined ? resolve() : reject(error)),
      }
      delivery.signal.addEventListener('abort', () => {
        this.#forget(held)
        reject(delivery.signal.reason)
      })
      this.#queue.push(held)
      // In a moment: the rest of the batch comes in this same turn.
      setImmediate(() => this.#wake())
    })

  #lease(held: Held, leaseMs: number): Held {
    held.timer = setTimeout(() => {
      this.#forget(held)
      held.settle(new Retry({ reason: `it was pulled, and not settled within ${leaseMs} ms` }))
    }, leaseMs)
    this.#held.set(held.token, held)
    return held
  }

  #forget(held: Held): void {
    clearTimeout(held.timer)
    this.#held.delete(held.token)
    const i = this.#queue.indexOf(held)
    if (i >= 0) this.#queue.splice(i, 1)
    this.#rest()
  }

  #arrival(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        this.#wakes.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      signal.addEventListener('abort', wake)
      this.#wakes.add(wake)
    })
  }

  #wake(): void {
    for (const wake of [...this.#wakes]) wake()
    this.#rest()
  }

  /** Starts the clock of an idle bridge. */
  #rest(): void {
    clearTimeout(this.#idle)
    if (this.#closing || this.#wanted > 0 || this.#held.size > 0) return
    this.#idle = setTimeout(() => void this.close(), this.#queue.length > 0 ? unwantedMs : idleMs)
    this.#idle.unref()
  }
}
