import type { Groups } from './groups.ts'
import { Locks, rowOf, sinceRow } from './locks.ts'
import type { QueuePart } from './queue-part.ts'

/** What of a queue is settled, told to its broker: how far all of it is, and what is behind that. */
export class Telling {
  readonly #groups: Groups
  readonly #locks: Locks
  readonly #isOurs: (part: QueuePart) => boolean

  constructor(groups: Groups, isOurs: (part: QueuePart) => boolean) {
    this.#groups = groups
    this.#locks = new Locks(groups)
    this.#isOurs = isOurs
  }

  /** Resolves once the broker knows what is settled of the queue now. */
  async commit(part: QueuePart): Promise<void> {
    while ((part.floor > part.committed || part.newRows.size > 0) && this.#isOurs(part)) {
      if (part.committing) {
        await part.committing
        continue
      }
      part.committing = this.#tell(part).finally(() => {
        part.committing = undefined
      })
      await part.committing
    }
  }

  /** The place first: a row is written whole, without what lies before the place, and who dies between the two repeats nothing. */
  async #tell(part: QueuePart): Promise<void> {
    const { group, topic, queue } = part.place
    const { floor, toldAgain } = part
    const past = part.settledOffsets()
    const rows = new Set(past.map(rowOf).filter((row) => part.newRows.has(row)))
    part.newRows.clear()
    try {
      if (floor > part.committed) await this.#groups.commit(group, topic, queue, floor)
      if (rows.size > 0) await this.#locks.markSettled(group, topic, queue, rows, [...sinceRow(floor, part.committed), ...past])
      if (part.toldAgain === toldAgain) part.committed = floor
    } catch (error) {
      for (const row of rows) part.newRows.add(row)
      throw error
    }
  }

  /** Before a queue is given up: its next owner is told no more than what is so. */
  async last(part: QueuePart): Promise<void> {
    part.leavingUntil ??= performance.now()
    // Once more all of it: a broker that was killed meanwhile may have been told less by those who joined then.
    part.tellAgain()
    await this.commit(part)
  }
}
