import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import { addressText } from '../address.ts'
import type { Delivery, DeliverySink } from '../engine.ts'
import type { Reading } from './balancing.ts'
import type { Cluster, Queue } from './cluster.ts'
import type { Pool } from './connection.ts'
import { Finished } from './finished.ts'
import type { Groups } from './groups.ts'
import { Locks, trustMs } from './locks.ts'
import { retryPrefix } from './names.ts'
import { findOffsets, queueKey } from './offsets.ts'
import type { Presence } from './presence.ts'
import { QueuePart, scopeOf } from './queue-part.ts'
import { graceOf, Restarts } from './restarts.ts'
import type { Telling } from './telling.ts'

const againMs = 200
const renewMs = 15_000
const askBackMs = 100
const endMs = 3000

export interface OwnershipParts {
  readonly cluster: Cluster
  readonly groups: Groups
  readonly pool: Pool
  readonly owner: string
  readonly presence: Presence
  readonly telling: Telling
  readonly sink: DeliverySink
  readonly laneOf: (delivery: Delivery) => string | undefined
  readonly handoverMs: number
  readonly returnMs: number
  readonly state: () => 'open' | 'stopped' | 'closed'
  /** A queue is ours from now on. */
  readonly began: (part: QueuePart) => void
  /** It is not any more. */
  readonly ended: (part: QueuePart) => void
  /** Something may be handed out. */
  readonly wake: () => void
  /** One could not be begun, and is to be asked for again. */
  readonly again: (topic: string, error: unknown) => void
}

/** The queues that a member owns: locked on their brokers, said again and again, and given up when somebody else is to have them. */
export class Ownership {
  readonly owned = new Map<string, QueuePart>()
  readonly #parts: OwnershipParts
  readonly #locks: Locks
  readonly #restarts: Restarts
  readonly #graceMs: number
  readonly #finished = new Finished()
  /** What is given up at this moment, by scope: taken again only after that, as the end of the one lock would end the other. */
  readonly #giving = new Map<string, Promise<void>>()
  readonly #timers: NodeJS.Timeout[]
  #handover: NodeJS.Timeout | undefined
  #renewAgain: NodeJS.Timeout | undefined
  /** What is said again at this moment, by group, topic and broker. */
  readonly #renewing = new Map<string, Promise<void>>()
  readonly #taking = new Set<string>()
  #tellLater: NodeJS.Timeout | undefined

  constructor(parts: OwnershipParts) {
    this.#parts = parts
    this.#locks = new Locks(parts.groups, parts.returnMs)
    this.#graceMs = graceOf(parts.returnMs)
    this.#restarts = new Restarts(parts.pool, parts.groups, this.#graceMs)
    this.#timers = [setInterval(() => void this.renew(), renewMs).unref(), setInterval(() => this.mindTheTime(), 1000).unref()]
  }

  has(topic: string, queue: Queue): boolean {
    return this.owned.has(scopeOf(topic, queue))
  }

  isOurs(part: QueuePart): boolean {
    return this.owned.get(part.scope) === part
  }

  // ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Those that are to be ours and are not; what is ours and is not to be is given up. */
  divide(topic: string, queues: readonly { readonly queue: Queue; readonly mine: boolean }[]): Queue[] {
    const wanted: Queue[] = []
    for (const { queue, mine } of queues) {
      const part = this.owned.get(scopeOf(topic, queue))
      if (!mine) {
        if (part) part.leavingUntil ??= performance.now() + this.#parts.handoverMs
      } else if (part) part.leavingUntil = undefined
      else wanted.push(queue)
    }
    this.#parts.wake()
    return wanted
  }

  /** Resolves once those of the queues are given up that just are. */
  async given(topic: string, queues: readonly Queue[]): Promise<void> {
    await Promise.all(queues.map((queue) => this.#giving.get(scopeOf(topic, queue))))
  }

  /** `missing`: somebody else has them, or may have them. `young`: the brokers that were started a moment ago, where others may. */
  async take(reading: Reading, wanted: readonly Queue[]): Promise<{ missing: Queue[]; young: ReadonlySet<string> }> {
    const { groups, owner } = this.#parts
    const { group, topic, route, source } = reading
    if (!topic.startsWith(retryPrefix) && wanted.some((queue) => !reading.places.has(queueKey(queue)))) {
      await groups.admit(group, route, source.from, owner)
      await this.keepPlaces(reading, wanted)
    }
    const young = await this.#restarts.young(group, topic, route.brokers)
    const free = await Promise.all(
      wanted.map(async (queue) => !young.has(queue.broker.name) && this.#locks.mayAsk(group, topic, queue, owner)),
    )
    const asked = wanted.filter((_, i) => free[i])
    const askedAt = performance.now()
    const scopes = asked.map((queue) => scopeOf(topic, queue))
    for (const scope of scopes) this.#taking.add(scope)
    try {
      const locked = await this.#locks.lock(group, topic, asked, owner, reading.departed)
      await Promise.all(locked.map((queue) => this.#begin(reading, queue, askedAt)))
      return { missing: wanted.filter((queue) => !locked.includes(queue)), young }
    } finally {
      for (const scope of scopes) this.#taking.delete(scope)
    }
  }

  /**
   * A broker that is killed before it has written anything down forgets where a group stands, and that there is one: it is
   * told again, by whoever is to read the queue next, where that was. Resolves to where it stands in each; undefined: nowhere.
   */
  async keepPlaces({ group, topic, places }: Reading, queues: readonly Queue[]): Promise<(number | undefined)[]> {
    const { groups } = this.#parts
    return Promise.all(
      queues.map(async (queue) => {
        const key = queueKey(queue)
        const place = await groups.committed(group, topic, queue)
        const known = places.get(key)
        if (place !== undefined) {
          if (known === undefined) places.set(key, place)
          return place
        }
        if (known === undefined) return undefined
        // Not past the end of a queue that began anew with its broker's disk.
        const [end] = await findOffsets(this.#parts.cluster, topic, [queue], 'end')
        if (known <= end!) {
          await groups.commit(group, topic, queue, known)
          return known
        }
        places.delete(key)
        return undefined
      }),
    )
  }

  async #begin(reading: Reading, queue: Queue, lockedAt: number): Promise<void> {
    const { groups, owner, sink, laneOf, state, began, again } = this.#parts
    const { source, topic, group } = reading
    try {
      await this.#locks.own(group, topic, queue, owner)
      const [place = 0] = await this.keepPlaces(reading, [queue])
      const stood = await this.#placeIn(group, topic, queue, place)
      // A name server that is away is not waited for: it is looked for again and again.
      const [offset = stood] = await groups.floors.beyond(topic, [queue], [stood]).catch(() => [])
      const settled = await this.#locks.readSettled(group, topic, queue, offset)
      const epoch = await this.#locks.nextEpoch(group, topic, queue)
      if (state() !== 'open') throw new BusError('closed', 'the subscription is closed')
      const part = new QueuePart({ topic, group, queue, source, epoch, offset, settled }, lockedAt, this.#finished, laneOf)
      this.owned.set(part.scope, part)
      sink.assigned(part.scope, epoch)
      began(part)
    } catch (error) {
      await this.#locks.release(group, topic, queue, owner)
      again(topic, error)
    }
  }

  /** Where it is read from. A queue that ends before the place began anew: its disk was lost, or the topic was deleted and made again. */
  async #placeIn(group: string, topic: string, queue: Queue, place: number): Promise<number> {
    const { groups, cluster, sink } = this.#parts
    if (place === 0) return 0
    const [end] = await findOffsets(cluster, topic, [queue], 'end')
    if (place <= end!) return place
    const [start] = await findOffsets(cluster, topic, [queue], 'start')
    sink.warned(`queue ${queueKey(queue)} of topic '${topic}' ends at ${end}, and the group stood at ${place}: it begins anew at ${start}`)
    await this.#locks.forget(group, topic, queue)
    await groups.commit(group, topic, queue, start!)
    return start!
  }

  /** What was purged since it is ours, and was not handed out yet. */
  async passPurged(topic: string): Promise<void> {
    const parts = [...this.owned.values()].filter(({ place }) => place.topic === topic)
    if (parts.length === 0) return
    const queues = parts.map(({ place }) => place.queue)
    const floors = await this.#parts.groups.floors.beyond(
      topic,
      queues,
      parts.map(({ floor }) => floor),
    )
    for (const [i, part] of parts.entries()) part.passTo(floors[i]!)
    this.#parts.wake()
  }

  /** It ends before what was read of it: given up, it is taken again from where it begins. */
  async beganAnew(part: QueuePart): Promise<boolean> {
    const { group, topic, queue } = part.place
    const [end] = await findOffsets(this.#parts.cluster, topic, [queue], 'end')
    if (part.cursor <= end! || !this.isOurs(part)) return false
    this.#revoke(part)
    await this.#release(part)
    this.#parts.again(topic, new BusError('engine_unavailable', `queue ${queueKey(queue)} of group '${group}' began anew`))
    return true
  }

  /** Gives back the locks of owners that are gone; whether that was done for all of the queues. */
  async bury({ group, topic, departed }: Reading, queues: readonly Queue[], young: ReadonlySet<string>): Promise<boolean> {
    const byBroker = Map.groupBy(queues, ({ broker }) => broker.name)
    const buried = await Promise.allSettled(
      [...byBroker].map(([name, some]) => this.#locks.bury(group, topic, some, departed, young.has(name))),
    )
    return young.size === 0 && buried.every(({ status }) => status === 'fulfilled')
  }

  // ── giving up ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Queues that are to go, once the core has given back what is in hand of them, or their time is over. */
  handOver = (): void => {
    clearTimeout(this.#handover)
    if (this.#parts.state() === 'closed') return
    const now = performance.now()
    let left = false
    for (const part of this.owned.values()) {
      if (part.leavingUntil === undefined || this.#giving.has(part.scope)) continue
      left = true
      if (part.inHand.size === 0 || part.leavingUntil <= now) {
        this.#giving.set(
          part.scope,
          this.#give(part).finally(() => this.#giving.delete(part.scope)),
        )
        continue
      }
      // Again and again: what fails meanwhile would wait here for its next attempt.
      if (now - part.askedBackAt < askBackMs) continue
      part.askedBackAt = now
      this.#parts.sink.leaving(part.scope)
    }
    if (left) this.#handover = setTimeout(this.handOver, 20)
  }

  async #give(part: QueuePart): Promise<void> {
    await this.#parts.telling.last(part).catch(() => {})
    if (part.leavingUntil === undefined || !this.isOurs(part)) return
    this.#revoke(part)
    await this.#release(part)
  }

  async #release({ place: { group, topic, queue } }: QueuePart): Promise<void> {
    await this.#locks.release(group, topic, queue, this.#parts.owner)
  }

  #revoke(part: QueuePart): void {
    if (!this.isOurs(part)) return
    this.owned.delete(part.scope)
    this.#parts.ended(part)
    if (this.#parts.state() !== 'closed') this.#parts.sink.revoked(part.scope, part.place.epoch)
  }

  // ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Says again what is ours. What a broker does not grant is somebody else's by now. */
  async renew(): Promise<void> {
    if (this.#parts.state() === 'closed') return
    clearTimeout(this.#renewAgain)
    const byPlace = Map.groupBy(this.owned.values(), ({ place: { group, topic, queue } }) => `${group}\n${topic}\n${queue.broker.name}`)
    // One broker that does not answer holds up no other: what is under way there goes on.
    const free = [...byPlace].filter(([place]) => !this.#renewing.has(place))
    for (const [place, parts] of free)
      this.#renewing.set(
        place,
        this.#renewSome(parts).finally(() => this.#renewing.delete(place)),
      )
    await within(againMs, Promise.all(this.#renewing.values()))
    if (this.#isInDoubt) this.#renewAgain = setTimeout(() => void this.renew(), againMs).unref()
    else this.#parts.wake()
  }

  get #isInDoubt(): boolean {
    return [...this.owned.values()].some(({ doubtful }) => doubtful)
  }

  async #renewSome(parts: readonly QueuePart[]): Promise<void> {
    const { groups, owner, presence, telling } = this.#parts
    const { group, topic, queue } = parts[0]!.place
    const askedAt = performance.now()
    try {
      const queues = parts.map(({ place }) => place.queue)
      // The broker knows no member any more either, and whose lock is no member's is given away.
      if (parts.some(({ doubtful }) => doubtful)) await presence.beatTo(queue.broker)
      const ours = new Set(await groups.lock(group, topic, queues, owner))
      for (const part of parts) {
        if (!this.isOurs(part)) {
          // Given up meanwhile, and locked once more by this question if that was heard last.
          if (!this.owned.has(part.scope) && !this.#taking.has(part.scope)) await this.#locks.unlock(group, topic, part.place.queue, owner)
          continue
        }
        if (!ours.has(part.place.queue)) {
          this.#revoke(part)
          continue
        }
        part.lockedAt = askedAt
        // One that was killed has forgotten the last seconds of it, and who joins then may put the group at its beginning.
        part.tellAgain()
        void telling.commit(part).catch(() => {})
        // An answer to a question from before its broker was lost is none.
        if (!part.doubtful || part.doubtedAt > askedAt) continue
        part.doubtful = false
        void this.#locks.own(group, topic, part.place.queue, owner, part.place.epoch).catch(() => {})
        this.#tellSoon()
      }
    } catch {
      // It is asked again, and the time runs on.
    }
  }

  /** It may have been killed, and have forgotten who owns what. */
  lostBroker(address: string): void {
    if (this.#parts.state() === 'closed') return
    this.#locks.beginAnew()
    for (const part of this.owned.values()) {
      if (addressText(part.place.queue.broker.address) !== address) continue
      part.doubtful = true
      part.doubtedAt = performance.now()
    }
    clearTimeout(this.#renewAgain)
    this.#renewAgain = setTimeout(() => void this.renew(), 20)
    this.#parts.presence.lost()
  }

  /** Once more when the others have waited: who joined meanwhile may have put the group where it began. */
  #tellSoon(): void {
    clearTimeout(this.#tellLater)
    this.#tellLater = setTimeout(() => {
      for (const part of this.owned.values()) {
        part.tellAgain()
        void this.#parts.telling.commit(part).catch(() => {})
      }
    }, this.#graceMs + 500).unref()
  }

  /** Unheard for so long the broker may have given away what was ours. */
  mindTheTime(): void {
    const now = performance.now()
    for (const part of this.owned.values()) if (now - part.lockedAt > trustMs) this.#revoke(part)
    if (!this.#isInDoubt && this.#parts.presence.isHeard) this.#finished.tick(now)
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Once nothing is settled any more. */
  async end(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    for (const timer of [this.#handover, this.#renewAgain, this.#tellLater]) clearTimeout(timer)
    const parts = [...this.owned.values()]
    this.owned.clear()
    for (const part of parts) this.#parts.ended(part)
    // A lock that is said once more in this moment would outlive its end.
    await within(endMs, Promise.allSettled([...this.#renewing.values(), ...this.#giving.values()]))
    await within(endMs, Promise.allSettled(parts.map((part) => this.#release(part))))
  }
}
