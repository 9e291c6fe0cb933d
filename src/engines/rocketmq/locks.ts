import type { Queue } from './cluster.ts'
import type { Groups } from './groups.ts'
import { queueKey } from './offsets.ts'

/** The brokers give a lock away that nobody has said anew for a minute (RebalanceLockManager). */
export const lockMs = 60_000
/** Ours ends before that. */
export const trustMs = 50_000
/**
 * What a broker keeps of a queue and a group beside its place, in the same table: as places in queues that are none. The count
 * of owners; and which messages past the place are settled, in numbers of 48 bits, behind the place that they belong to.
 */
const ownersAt = 1_000_000
const marksAt = 2_000_000
const numbersOfQueue = 32
const bits = 48
const noPlace = 2 ** 52
/** Who the owner is. */
const ownerAt = 3_000_000
/** An owner that no broker has as a member for so long is gone: one that has lost its connection is back before that. */
const goneMs = 5000
/** So many messages past a place can be told of. */
export const mostMarked = (numbersOfQueue - 1) * bits

/** Who owns a queue of a group: a lock on its broker, and a number that grows with each owner. */
export class Locks {
  readonly #groups: Groups
  /** Owners that are members no more, by their queues. */
  readonly #gone = new Map<string, { readonly owner: string; readonly since: number }>()

  constructor(groups: Groups) {
    this.#groups = groups
  }

  /** Those of the queues that are the client's from now on; what a broker that is away says is no. */
  async lock(group: string, topic: string, queues: readonly Queue[], client: string): Promise<Queue[]> {
    const own = await Promise.all(
      [...Map.groupBy(queues, ({ broker }) => broker.name).values()].map((some) =>
        this.#groups.lock(group, topic, some, client).catch(() => []),
      ),
    )
    return own.flat()
  }

  async unlock(group: string, topic: string, queue: Queue, client: string): Promise<void> {
    await this.#groups.unlock(group, topic, [queue], client).catch(() => {})
  }

  /** Of the owner before, if it left the queue at this place. */
  async readMark(group: string, topic: string, { broker, id }: Queue, place: number): Promise<Set<number>> {
    const numberAt = (i: number): Queue => ({ broker, id: marksAt + id * numbersOfQueue + i })
    const settled = new Set<number>()
    if ((await this.#groups.committed(group, topic, numberAt(0))) !== place) return settled
    const numbers = await Promise.all(
      Array.from({ length: numbersOfQueue - 1 }, (_, i) => this.#groups.committed(group, topic, numberAt(i + 1))),
    )
    for (const [i, number] of numbers.entries())
      for (let bit = 0; bit < bits; bit++) if (Math.floor((number ?? 0) / 2 ** bit) % 2 === 1) settled.add(place + 1 + i * bits + bit)
    return settled
  }

  async writeMark(group: string, topic: string, { broker, id }: Queue, place: number, settled: readonly number[]): Promise<void> {
    const numbers = new Array<number>(numbersOfQueue - 1).fill(0)
    for (const offset of settled) {
      const at = offset - place - 1
      if (at >= 0 && at < mostMarked) numbers[Math.floor(at / bits)]! += 2 ** (at % bits)
    }
    const numberAt = (i: number): Queue => ({ broker, id: marksAt + id * numbersOfQueue + i })
    await Promise.all(numbers.map((number, i) => this.#groups.commit(group, topic, numberAt(i + 1), number)))
    // Last, as it says that the others hold.
    await this.#groups.commit(group, topic, numberAt(0), place)
  }

  /** After somebody moved the group. */
  async forgetMark(group: string, topic: string, { broker, id }: Queue): Promise<void> {
    await this.#groups.commit(group, topic, { broker, id: marksAt + id * numbersOfQueue }, noPlace)
  }

  /** More than any owner had before. A broker that was killed has forgotten the last seconds of the count: then the clock stands in. */
  async nextEpoch(group: string, topic: string, { broker, id }: Queue, client: string): Promise<number> {
    const counter = { broker, id: ownersAt + id }
    const before = await this.#groups.committed(group, topic, counter)
    const epoch = Math.max((before ?? 0) + 1, Date.now())
    await this.#groups.commit(group, topic, counter, epoch)
    await this.#groups.commit(group, topic, { broker, id: ownerAt + id }, Number.parseInt(client, 16))
    return epoch
  }

  /** The lock of an owner that died lives on for its minute: it is given back in its name. */
  async freeDead(group: string, topic: string, queue: Queue, clients: readonly string[]): Promise<void> {
    const place = `${topic}/${queueKey(queue)}`
    const number = await this.#groups.committed(group, topic, { broker: queue.broker, id: ownerAt + queue.id })
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
}
