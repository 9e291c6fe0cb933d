import { ownerOfClient } from './groups.ts'

/** What a dead owner had is free after this, whoever forgets it. */
const lockLivesMs = 90_000

/** Who is a member of a group no more, and since when that has been so without a break. */
export class Departed {
  #present: ReadonlySet<string> = new Set()
  /** `performance.now()` */
  readonly #since = new Map<string, number>()
  readonly #buried = new Set<string>()
  /** Nobody has been looked for yet in the notes of the queues. */
  #isNew = true
  readonly #returnMs: number

  /** `returnMs`: who lost its connection is back before that. */
  constructor(returnMs: number) {
    this.#returnMs = returnMs
  }

  /** What the brokers list now. Who is missing since the last look is known without a question for its queues. */
  look(clients: readonly string[]): void {
    const present = new Set(clients.flatMap((client) => ownerOfClient(client) ?? []))
    for (const owner of this.#present) if (!present.has(owner)) this.#note(owner)
    for (const owner of present) {
      this.#since.delete(owner)
      this.#buried.delete(owner)
    }
    this.#present = present
  }

  /** Whether it is gone for good; who was never seen counts from the first question on. */
  isGone(owner: string): boolean {
    return !this.#present.has(owner) && performance.now() - this.#note(owner) >= this.#returnMs
  }

  /** All that are. */
  get gone(): string[] {
    return [...this.#since.keys()].filter((owner) => this.isGone(owner))
  }

  #note(owner: string): number {
    const since = this.#since.get(owner) ?? performance.now()
    this.#since.set(owner, since)
    return since
  }

  /** In how long somebody will be gone whose queues have not been looked for since, ms. */
  get dueMs(): number | undefined {
    let due: number | undefined
    const now = performance.now()
    for (const [owner, since] of this.#since)
      if (!this.#buried.has(owner)) due = Math.min(due ?? this.#returnMs, Math.max(0, since + this.#returnMs - now))
    return due
  }

  /** Whether all queues are to be looked at. */
  get isDue(): boolean {
    return this.#isNew || this.dueMs === 0
  }

  /** They were. */
  buried(): void {
    this.#isNew = false
    const now = performance.now()
    for (const owner of this.gone) {
      this.#buried.add(owner)
      if (now - this.#since.get(owner)! < lockLivesMs) continue
      this.#since.delete(owner)
      this.#buried.delete(owner)
    }
  }

  /** A broker was away: whoever it has not as a member may not have come back yet. */
  beginAnew(): void {
    this.#present = new Set()
    this.#since.clear()
    this.#buried.clear()
    this.#isNew = true
  }
}
