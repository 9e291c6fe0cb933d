import type { Job, Lane } from './job.ts'

/** One lane a key, for as long as something of the key is in hand. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>()
  /** Messages that wait behind others of their key. */
  parked = 0

  /** Puts the job into its lane. Returns whether it is the head, that is: may run now. */
  enter(id: string, job: Job): boolean {
    const lane = this.#lanes.get(id)
    if (lane) {
      job.lane = lane
      job.state = 'parked'
      lane.waiting.push(job)
      this.parked++
      return false
    }
    const made: Lane = { id, head: job, waiting: [] }
    job.lane = made
    this.#lanes.set(id, made)
    return true
  }

  /** Takes out of the lane what waits in it behind the job. */
  behind(job: Job): Job[] {
    const { lane } = job
    if (!lane) return []
    const later = lane.waiting.splice(lane.head === job ? 0 : lane.waiting.indexOf(job) + 1)
    for (const one of later) one.lane = undefined
    this.parked -= later.length
    return later
  }

  /** Takes the job out of its lane. Returns the job that may run now, if it was the head and another waits. */
  leave(job: Job): Job | undefined {
    const lane = job.lane
    if (!lane) return undefined
    job.lane = undefined
    if (lane.head !== job) {
      const i = lane.waiting.indexOf(job)
      if (i >= 0) {
        lane.waiting.splice(i, 1)
        this.parked--
      }
      return undefined
    }
    const next = lane.waiting.shift()
    if (!next) {
      this.#lanes.delete(lane.id)
      return undefined
    }
    this.parked--
    lane.head = next
    next.state = 'queued'
    return next
  }
}
