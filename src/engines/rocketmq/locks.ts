import { beside, besideOf, numberOfOwner, ownerOf } from './beside.ts'
import type { Queue } from './cluster.ts'
import type { Departed } from './departed.ts'
import type { Groups } from './groups.ts'
import { queueKey } from './offsets.ts'

/** The brokers give a lock away that nobody has said anew for a minute (RebalanceLockManager); ours ends before that. */
export const trustMs = 50_000
/** A number tells of so many messages in a row, and of which row: it is used again by a row far behind. */
const bits = 32
const numbers = 36
const mostTurns = 2 ** 20
/** So many messages past a place can be told of. */
export const mostMarked = (numbers - 1) * bits

/** Who owns a queue of a group: a lock on its broker, and a number that grows with each owner. */
export class Locks {
  readonly #groups: Groups
  readonly #returnMs: number
  /** Owners that have not given up what shall be somebody else's, by their queues: since when that is known. */
  readonly #unreleased = new Map<string, { readonly owner: string; readonly since: number }>()

  /** `returnMs`: what is not given up and not said again for so long is somebody else's. */
  constructor(groups: Groups, returnMs = 0) {
    this.#groups = groups
    this.#returnMs = returnMs
  }

  /** Those of the queues that are the owner's from now on; what a broker that is away says is no. */
  async lock(group: string, topic: string, queues: readonly Queue[], owner: string, departed: Departed): Promise<Queue[]> {
    await Promise.all(
      queues.map(async (queue) => {
        // Who asked before may have it, and may be dead: it is not known any more once the claim is ours.
        const before = await this.#noted(group, topic, queue, beside.claimant)
        if (before !== undefined && before !== owner) departed.isGone(before)
        // Before it asks: it may have the lock and die before it could say more.
        await this.#groups.commit(group, topic, besideOf(queue, beside.claimant), numberOfOwner(owner))
      }),
    )
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

  /** Gives it up: written down first, so that whoever gets the lock knows that nobody else goes by it. */
  async release(group: string, topic: string, queue: Queue, owner: string): Promise<void> {
    await this.#groups.commit(group, topic, besideOf(queue, beside.owner), 0).catch(() => {})
    await this.unlock(group, topic, queue, owner)
  }

  /** Says whose the lock is: at once, so that it can be freed whenever its owner dies. `epoch`: its number, where it has one already. */
  async own(group: string, topic: string, queue: Queue, owner: string, epoch?: number): Promise<void> {
    await Promise.all([
      epoch === undefined || this.#groups.commit(group, topic, besideOf(queue, beside.epoch), epoch),
      this.#groups.commit(group, topic, besideOf(queue, beside.owner), numberOfOwner(owner)),
      this.#groups.commit(group, topic, besideOf(queue, beside.dead), 0),
    ])
  }

  /** More than any owner had before. A broker that was killed has forgotten the last seconds of the count: then the clock stands in. */
  async nextEpoch(group: string, topic: string, queue: Queue): Promise<number> {
    const counter = besideOf(queue, beside.epoch)
    const before = await this.#groups.committed(group, topic, counter)
    const epoch = Math.max((before ?? 0) + 1, Date.now())
    await this.#groups.commit(group, topic, counter, epoch)
    return epoch
  }

  /**
   * Whether the lock may be asked for. One that was not given up may still be its owner's who is about to say it again, as a
   * broker that was killed forgets its locks and gives them to whoever asks first.
   */
  async mayAsk(group: string, topic: string, queue: Queue, owner: string): Promise<boolean> {
    const place = `${topic}/${queueKey(queue)}`
    const last = await this.#noted(group, topic, queue, beside.owner)
    if (last === undefined || last === owner) {
      this.#unreleased.delete(place)
      return true
    }
    const dead = await this.#noted(group, topic, queue, beside.dead)
    return dead === last || seenFor(this.#unreleased, place, last) >= this.#returnMs
  }

  /**
   * The lock of an owner that died lives on for its minute: it is given back in its name, by whoever has missed it for long
   * enough, with a note of its death, so that a member who did not see it takes the queue at once. One may have died with a
   * lock before it said so: each that is gone gives back all of the queues.
   * All queues are on one broker. `isYoung`: it was just started, nobody has a lock there yet, and who is missing is only noted.
   */
  async bury(group: string, topic: string, queues: readonly Queue[], departed: Departed, isYoung: boolean): Promise<void> {
    await Promise.all(
      queues.map(async (queue) => {
        const [owner, claimant] = await Promise.all([
          this.#noted(group, topic, queue, beside.owner),
          this.#noted(group, topic, queue, beside.claimant),
        ])
        if (claimant !== undefined) departed.isGone(claimant)
        if (owner === undefined || !departed.isGone(owner) || isYoung) return
        // Before the lock is free: whoever has it next says that nobody is dead.
        await this.#groups.commit(group, topic, besideOf(queue, beside.dead), numberOfOwner(owner))
      }),
    )
    if (!isYoung) await Promise.all(departed.gone.map((one) => this.#groups.unlock(group, topic, queues, one)))
  }

  /** A broker was away: the time of those that it had as owners begins anew. */
  beginAnew(): void {
    this.#unreleased.clear()
  }

  /** The owner that stands beside the queue there. */
  async #noted(group: string, topic: string, queue: Queue, what: number): Promise<string | undefined> {
    return ownerOf(await this.#groups.committed(group, topic, besideOf(queue, what)))
  }

  /** What owners before settled past the place. */
  async readSettled(group: string, topic: string, { broker, id }: Queue, place: number): Promise<Set<number>> {
    const read = (number: number): Promise<number | undefined> => this.#groups.committed(group, topic, { broker, id: number })
    const settled = new Set<number>()
    // Nobody had it so far, which most questions are about.
    if ((await read(beside.epoch + id)) === undefined) return settled
    const rows = await Promise.all(Array.from({ length: numbers }, (_, slot) => read(beside.settled + id * numbers + slot)))
    for (const [slot, number] of rows.entries()) {
      if (number === undefined || number === 0) continue
      const row = rowFrom(Math.floor(number / 2 ** bits), slot, place)
      for (let bit = 0; bit < bits; bit++) {
        const offset = row * bits + bit
        if (Math.floor(number / 2 ** bit) % 2 === 1 && offset >= place && offset < place + mostMarked + bits) settled.add(offset)
      }
    }
    return settled
  }

  /**
   * `rows`: those that hold something new. `settled`: all past the place, and what it has passed since it was told last: a
   * broker writes down one number after the other, and may have an older place beside a newer row.
   */
  async markSettled(group: string, topic: string, { broker, id }: Queue, rows: Iterable<number>, settled: Iterable<number>): Promise<void> {
    const numberOf = new Map<number, number>([...rows].map((row) => [row, turnOf(row) * 2 ** bits]))
    // Each once: bits are added.
    for (const offset of new Set(settled)) {
      const row = rowOf(offset)
      const number = numberOf.get(row)
      if (number !== undefined) numberOf.set(row, number + 2 ** (offset % bits))
    }
    await Promise.all(
      [...numberOf].map(([row, number]) =>
        this.#groups.commit(group, topic, { broker, id: beside.settled + id * numbers + (row % numbers) }, number),
      ),
    )
  }

  /** After somebody moved the group. */
  async forget(group: string, topic: string, { broker, id }: Queue): Promise<void> {
    await Promise.all(
      Array.from({ length: numbers }, (_, slot) =>
        this.#groups.commit(group, topic, { broker, id: beside.settled + id * numbers + slot }, 0),
      ),
    )
  }
}

/** ms since the owner was seen there first, in a row. */
function seenFor(seen: Map<string, { readonly owner: string; readonly since: number }>, place: string, owner: string): number {
  const now = performance.now()
  const before = seen.get(place)
  if (before?.owner === owner) return now - before.since
  seen.set(place, { owner, since: now })
  return 0
}

/** How often the numbers were used up before the row; as much of it as a number has room for. */
const turnOf = (row: number): number => Math.floor(row / numbers) % mostTurns

/** The row with that number that is not before the place's own. */
function rowFrom(turn: number, slot: number, place: number): number {
  const now = Math.floor(rowOf(place) / numbers)
  const ahead = (((turn - turnOf(now * numbers)) % mostTurns) + mostTurns) % mostTurns
  return (now + ahead) * numbers + slot
}

export const rowOf = (offset: number): number => Math.floor(offset / bits)

/** What lies before a place, in its row, from another place on. */
export function sinceRow(place: number, from: number): number[] {
  const first = Math.max(from, rowOf(place) * bits)
  return Array.from({ length: Math.max(0, place - first) }, (_, i) => first + i)
}
