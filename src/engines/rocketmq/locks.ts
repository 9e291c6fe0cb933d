import type { Cluster, Queue } from './cluster.ts'
import type { Groups } from './groups.ts'
import { queueKey } from './offsets.ts'

/** The brokers give a lock away that nobody has said anew for a minute (RebalanceLockManager); ours ends before that. */
export const trustMs = 50_000
/** An owner that no broker has as a member for so long is gone: one that has lost its connection is back before that. */
const goneMs = 5000
/** Between the clocks of brokers and members, ms. */
const clocksMs = 30_000
/** A group that nobody owned so far may be one that was forgotten whole. */
const newbornMs = 600_000

/**
 * What a broker keeps of a queue and a group beside its place, in the same table, as places in queues that are none: the
 * count of owners, who owns it, how far messages may have been handed out, and which of those past the place are settled.
 */
const at = { epoch: 1_000_000, owner: 2_000_000, handed: 3_000_000, settled: 4_000_000 } as const
/** A number tells of so many messages in a row, and of which row: it is used again by a row far behind. */
const bits = 32
const numbers = 36
/** So many messages past a place can be told of. */
export const mostMarked = (numbers - 1) * bits

/** What the owner before knew of a queue. */
export interface Mark {
  /** Nothing from this offset on was handed to anybody. */
  readonly handed: number
  readonly settled: ReadonlySet<number>
}

/** Who owns a queue of a group: a lock on its broker, and a number that grows with each owner. */
export class Locks {
  readonly #groups: Groups
  /** Owners that are members no more, by their queues. */
  readonly #gone = new Map<string, { readonly owner: string; readonly since: number }>()

  constructor(groups: Groups) {
    this.#groups = groups
  }

  /** Those of the queues that are the owner's from now on; what a broker that is away says is no. */
  async lock(group: string, topic: string, queues: readonly Queue[], owner: string): Promise<Queue[]> {
    const own = await Promise.all(
      [...Map.groupBy(queues, ({ broker }) => broker.name).values()].map((some) =>
        this.#groups.lock(group, topic, some, owner).catch(() => []),
      ),
    )
    return own.flat()
  }

  async unlock(group: string, topic: string, queue: Queue, owner: string): Promise<void> {
    await this.#groups.unlock(group, topic, [queue], owner).catch(() => {})
  }

  /** Says whose the lock is: at once, so that it can be freed whenever its owner dies. */
  async own(group: string, topic: string, { broker, id }: Queue, owner: string): Promise<void> {
    await this.#groups.commit(group, topic, { broker, id: at.owner + id }, Number.parseInt(owner, 16))
  }

  /** More than any owner had before. A broker that was killed has forgotten the last seconds of the count: then the clock stands in. */
  async nextEpoch(group: string, topic: string, { broker, id }: Queue): Promise<number> {
    const counter = { broker, id: at.epoch + id }
    const before = await this.#groups.committed(group, topic, counter)
    const epoch = Math.max((before ?? 0) + 1, Date.now())
    await this.#groups.commit(group, topic, counter, epoch)
    return epoch
  }

  /** The lock of an owner that died lives on for its minute: it is given back in its name. */
  async freeDead(group: string, topic: string, queue: Queue, clients: readonly string[]): Promise<void> {
    const place = `${topic}/${queueKey(queue)}`
    const number = await this.#groups.committed(group, topic, { broker: queue.broker, id: at.owner + queue.id })
    const owner = number?.toString(16).padStart(12, '0')
    if (owner === undefined || clients.some((client) => client.includes(`@${owner}@cozebus@`))) {
      this.#gone.delete(place)
      return
    }
    const gone = this.#gone.get(place)
    if (gone?.owner !== owner) this.#gone.set(place, { owner, since: performance.now() })
    else if (performance.now() - gone.since >= goneMs) {
      this.#gone.delete(place)
      await this.unlock(group, topic, queue, owner)
    }
  }

  /** Whether the broker was started since the owner before began: if it was killed it has forgotten the last seconds. */
  async mayHaveForgotten(group: string, topic: string, { broker, id }: Queue, cluster: Cluster): Promise<boolean> {
    const [boot, epoch] = await Promise.all([
      cluster.dispatch.bootOf(broker),
      this.#groups.committed(group, topic, { broker, id: at.epoch + id }),
    ])
    return boot === undefined || boot > (epoch ?? Date.now() - newbornMs) - clocksMs
  }

  async readMark(group: string, topic: string, { broker, id }: Queue, place: number): Promise<Mark> {
    const read = (number: number): Promise<number | undefined> => this.#groups.committed(group, topic, { broker, id: number })
    const [handed, ...rows] = await Promise.all([
      read(at.handed + id),
      ...Array.from({ length: numbers }, (_, slot) => read(at.settled + id * numbers + slot)),
    ])
    const settled = new Set<number>()
    for (const [slot, number] of rows.entries()) {
      if (number === undefined || number === 0) continue
      const row = Math.floor(number / 2 ** bits) * numbers + slot
      for (let bit = 0; bit < bits; bit++) {
        const offset = row * bits + bit
        if (Math.floor(number / 2 ** bit) % 2 === 1 && offset >= place && offset < place + mostMarked + bits) settled.add(offset)
      }
    }
    return { handed: handed ?? 0, settled }
  }

  async markHanded(group: string, topic: string, { broker, id }: Queue, upTo: number): Promise<void> {
    await this.#groups.commit(group, topic, { broker, id: at.handed + id }, upTo)
  }

  /** `rows`: those that hold something new. `settled`: all past the place. */
  async markSettled(
    group: string,
    topic: string,
    { broker, id }: Queue,
    rows: Iterable<number>,
    settled: readonly number[],
  ): Promise<void> {
    const numberOf = new Map<number, number>([...rows].map((row) => [row, Math.floor(row / numbers) * 2 ** bits]))
    for (const offset of settled) {
      const row = rowOf(offset)
      const number = numberOf.get(row)
      if (number !== undefined) numberOf.set(row, number + 2 ** (offset % bits))
    }
    await Promise.all(
      [...numberOf].map(([row, number]) =>
        this.#groups.commit(group, topic, { broker, id: at.settled + id * numbers + (row % numbers) }, number),
      ),
    )
  }

  /** After somebody moved the group. */
  async forget(group: string, topic: string, { broker, id }: Queue): Promise<void> {
    await Promise.all(
      [at.handed + id, ...Array.from({ length: numbers }, (_, slot) => at.settled + id * numbers + slot)].map((number) =>
        this.#groups.commit(group, topic, { broker, id: number }, 0),
      ),
    )
  }
}

export const rowOf = (offset: number): number => Math.floor(offset / bits)
