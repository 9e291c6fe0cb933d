import { BusError } from '../../errors.ts'
import type { Delivery } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { apiIdOf } from './failure.ts'
import type { Membership } from './membership.ts'
import { type Committed, commitOffsets } from './offsets.ts'
import { offsetOf, type Part } from './part.ts'

/** Commits what has changed, one commit at a time: those who ask meanwhile share the next one. */
export class Committing {
  readonly #cluster: Cluster
  readonly #group: string
  readonly #membership: Membership
  readonly #parts: ReadonlyMap<string, Part>
  /** How far a partition that was given away had been committed, by scope and epoch. */
  readonly #past = new Map<string, number>()
  #current: Promise<void> | undefined
  #next: Promise<void> | undefined
  #ended = false

  constructor(cluster: Cluster, group: string, membership: Membership, parts: ReadonlyMap<string, Part>) {
    this.#cluster = cluster
    this.#group = group
    this.#membership = membership
    this.#parts = parts
  }

  /** Resolves once all that was settled before the call is committed. */
  commit(): Promise<void> {
    if (!this.#current) {
      this.#current = this.#once().finally(() => {
        this.#current = undefined
      })
      return this.#current
    }
    this.#next ??= this.#current
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.commit()
      })
    return this.#next
  }

  /** Whether it was acknowledged in time, of a partition that is not ours any more. */
  committedOf(delivery: Delivery): boolean {
    return offsetOf(delivery) < (this.#past.get(`${delivery.scope}@${delivery.fence}`) ?? 0)
  }

  end(): void {
    this.#ended = true
  }

  async #once(): Promise<void> {
    const marks: { part: Part; mark: ReturnType<Part['mark']> }[] = []
    const offsets = new Map<string, Map<number, Committed>>()
    for (const part of this.#parts.values()) {
      const mark = part.mark()
      if (mark.text === part.committed) continue
      // Of a part that was to go and stays: what is handed out from here on must be in a later one.
      part.handed = Math.min(part.handed, mark.handed)
      marks.push({ part, mark })
      const own = offsets.get(part.topic) ?? new Map<number, Committed>()
      offsets.set(part.topic, own.set(part.partition, mark))
    }
    if (marks.length === 0) return
    if (this.#ended) throw new BusError('closed', 'the subscription is closed')
    const { identity } = this.#membership
    if (identity.generation < 0) throw new BusError('engine_unavailable', `group '${this.#group}': not a member at the moment`)
    try {
      await commitOffsets(this.#cluster, this.#group, identity, offsets)
    } catch (error) {
      if (apiIdOf(error) === 'NOT_COORDINATOR' || apiIdOf(error) === undefined) this.#cluster.forgetCoordinator(this.#group)
      // Between two rounds nothing is committed; what stays ours is, after the next.
      throw error
    }
    for (const { part, mark } of marks) {
      part.committed = mark.text
      part.handed = mark.handed
      this.#remember(part, mark.offset)
    }
  }

  #remember(part: Part, offset: number): void {
    this.#past.set(`${part.scope}@${part.epoch}`, offset)
    if (this.#past.size > 2000) this.#past.delete(this.#past.keys().next().value!)
  }
}
