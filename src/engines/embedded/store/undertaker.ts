import type { Outbox } from './outbox.ts'
import type { Presence } from './presence.ts'
import type { Settling } from './settling.ts'

const lookEveryMs = 1000

/** Gives back what dead processes held, without waiting for their leases to end. */
export class Undertaker {
  readonly #presence: Presence
  readonly #settling: Settling
  readonly #out: Outbox
  #lookedAt = 0
  #dead: number[] = []

  constructor(presence: Presence, settling: Settling, out: Outbox) {
    this.#presence = presence
    this.#settling = settling
    this.#out = out
  }

  clockSetBack(): void {
    this.#lookedAt = 0
    this.#presence.clockSetBack()
  }

  /** Looks, at most once a second. Returns whether there is somebody to bury. */
  look(now: number): boolean {
    if (now - this.#lookedAt >= lookEveryMs) {
      this.#lookedAt = now
      this.#dead = this.#presence.dead(now)
    }
    return this.#dead.length > 0
  }

  /** In a transaction. Returns whether something was given back. */
  bury(): boolean {
    const dead = this.#dead
    if (dead.length === 0) return false
    for (const process of dead) {
      for (const { owner, group } of this.#presence.memberships(process)) this.#settling.returnAll(group, owner)
      this.#presence.forget(process)
    }
    this.#out.afterCommit(() => {
      this.#dead = []
    })
    return true
  }
}
