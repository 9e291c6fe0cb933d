import type { MessageId } from './protocol.ts'

const most = 50_000
const turnMs = 60_000

/** What was acknowledged in the last while: a broker that was killed gives again what it had not written down. */
export class Finished {
  #now = new Set<string>()
  #before = new Set<string>()
  #turnedAt = performance.now()

  /** {@link keyOf} */
  add(key: string): void {
    this.#now.add(key)
    if (this.#now.size >= most) this.#turn()
  }

  has(key: string): boolean {
    return this.#now.has(key) || this.#before.has(key)
  }

  /** Called while the broker is there: one that is away for long must not make it forget. */
  tick(now: number): void {
    if (now - this.#turnedAt >= turnMs) this.#turn()
  }

  #turn(): void {
    this.#before = this.#now
    this.#now = new Set()
    this.#turnedAt = performance.now()
  }
}

export const keyOf = (topic: string, { ledger, entry }: MessageId): string => `${topic} ${ledger}:${entry}`
