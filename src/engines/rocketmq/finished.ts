const most = 50_000
const turnMs = 20_000

/**
 * What was acknowledged in the last while. A broker writes down every five seconds how far a group is: one that was killed
 * gives the last of it again, looking new.
 */
export class Finished {
  #now = new Set<string>()
  #before = new Set<string>()
  #turnedAt = performance.now()

  add(unique: string): void {
    this.#now.add(unique)
    if (this.#now.size >= most) this.#turn()
  }

  has(unique: string): boolean {
    return this.#now.has(unique) || this.#before.has(unique)
  }

  /** Called while the brokers are there: a broker that is away for long must not make it forget. */
  tick(now: number): void {
    if (now - this.#turnedAt >= turnMs) this.#turn()
  }

  #turn(): void {
    this.#before = this.#now
    this.#now = new Set()
    this.#turnedAt = performance.now()
  }
}
