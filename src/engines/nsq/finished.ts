import type { Session } from './session.ts'

/** Finished work whose end nsqd may not have heard of is remembered for so long, and so much of it. */
const rememberMs = 15 * 60_000
const rememberMost = 50_000

/**
 * Messages that are done with, and that nsqd may give again as it has not read so: each is finished unseen when it comes.
 * What a connection that has ended was told last, nsqd may never have read; how much that can be is {@link Session.told}.
 */
export class Finished {
  /** By nsqd and id, the oldest first: until when. */
  readonly #unsure = new Map<string, number>()

  /** The connection has ended. */
  left(session: Session): void {
    for (const id of session.told) if (id !== '') this.remember(session, id)
  }

  remember(session: Session, id: string): void {
    const key = keyOf(session, id)
    this.#unsure.delete(key)
    this.#unsure.set(key, performance.now() + rememberMs)
    if (this.#unsure.size > rememberMost) for (const oldest of this.#unsure.keys()) return void this.#unsure.delete(oldest)
  }

  /** Whether what came is one of these; it is so once. */
  take(session: Session, id: string): boolean {
    return this.#unsure.size > 0 && this.#unsure.delete(keyOf(session, id))
  }

  expire(now: number): void {
    for (const [key, until] of this.#unsure) {
      if (until > now) break
      this.#unsure.delete(key)
    }
  }
}

/** A message on all nsqds. */
export function keyOf({ nsqd }: Session, id: string): string {
  return `${nsqd}/${id}`
}
