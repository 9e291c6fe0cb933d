import { BusError, toBusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import { within } from '../../within.ts'
import { addressText } from '../address.ts'
import type { Delivery, DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import { allocate } from './allocating.ts'
import type { Queue, Route } from './cluster.ts'
import type { Pool } from './connection.ts'
import { Departed } from './departed.ts'
import { unavailable } from './failure.ts'
import { Finished } from './finished.ts'
import { clientId, ownerId, sharesLanes } from './groups.ts'
import { type InHand, joined, type SubscriptionParts } from './joining.ts'
import { Locks, rowOf, sinceRow, trustMs } from './locks.ts'
import { popRetryTopic, retryPrefix, retryTopic } from './names.ts'
import { queueKey } from './offsets.ts'
import { Presence } from './presence.ts'
import { request } from './protocol.ts'
import { pulled, pullFields } from './pulling.ts'
import { offsetOf, QueuePart } from './queue-part.ts'
import { graceMs, Restarts } from './restarts.ts'

const mostAtOnce = 200
/** What is pulled ahead of each queue, and of all. */
const aheadOfPart = 1024 * 1024
const aheadOfAll = 16 * 1024 * 1024
const pullWaitMs = 10_000
/** A broker looks at those who wait every five seconds. */
const answerMs = 12_000
const againMs = 200
const balanceMs = 3000
const shareMs = 1000
const renewMs = 15_000
const endMs = 3000
const askBackMs = 100
/** Longer timeouts overflow into 1 ms. */
const longestTimerMs = 2 ** 31 - 1

interface Reading {
  readonly source: Source
  readonly topic: string
  readonly group: string
  route: Route
  /** Where the group stood in each queue when it was seen first. */
  readonly places: Map<string, number>
  readonly departed: Departed
}

/** A member of a group that keeps order: queues are owned by one member at a time, and a key is always in one queue. */
export class OrderedSubscription implements EngineSubscription {
  readonly group: string
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #pool: Pool
  readonly #presence: Presence
  readonly #locks: Locks
  readonly #owner: string
  readonly #readings = new Map<string, Reading>()
  readonly #owned = new Map<string, QueuePart>()
  readonly #finished = new Finished()
  readonly #troubles = new Map<string, string>()
  /** What is given up at this moment, by scope: taken again only after that, as the end of the one lock would end the other. */
  readonly #giving = new Map<string, Promise<void>>()
  readonly #paused = new Map<QueuePart, () => void>()
  readonly #handoverMs: number
  #state: 'open' | 'stopped' | 'closed' = 'open'
  #messages = 0
  #bytes = 0
  #scheduled: NodeJS.Immediate | undefined
  #due: NodeJS.Timeout | undefined
  #handover: NodeJS.Timeout | undefined
  #balanceAgain: NodeJS.Timeout | undefined
  #balanceAgainAt = 0
  #renewAgain: NodeJS.Timeout | undefined
  readonly #timers: NodeJS.Timeout[]
  #balancing: Promise<void> | undefined
  #wanted = false
  #renewing: Promise<void> | undefined
  readonly #restarts: Restarts
  #hasShare = false
  #closing: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.group = spec.group
    this.#parts = parts
    this.#spec = spec
    this.#sink = sink
    this.#handoverMs = parts.cluster.options.handoverMs ?? 10_000
    this.#pool = parts.cluster.newPool()
    this.#locks = new Locks(parts.groups)
    this.#restarts = new Restarts(this.#pool, parts.groups)
    this.#owner = ownerId(spec.member)
    this.#presence = new Presence(this.#pool, {
      groups: () => new Set([...this.#readings.values()].map((reading) => reading.group)),
      client: () => this.#client,
      topics: (group) => [...this.#readings.values()].filter((one) => one.group === group).map(({ topic }) => topic),
      brokers: () => [
        ...new Map([...this.#readings.values()].flatMap(({ route }) => route.brokers.map((one) => [one.name, one]))).values(),
      ],
    })
    this.#pool.onMembers = () => void this.#balance()
    this.#pool.onLoss = (address) => this.#lostBroker(address)
    this.#timers = [
      setInterval(() => void this.#balance(), balanceMs).unref(),
      setInterval(() => void this.#renew(), renewMs).unref(),
      setInterval(() => this.#mindTheTime(), 1000).unref(),
    ]
  }

  get #client(): string {
    const readings = [...this.#readings.values()].filter(({ topic }) => !topic.startsWith(retryPrefix))
    return clientId(
      this.#spec.member,
      readings.map(({ topic }) => topic),
      readings.map(({ source }) => source.lanes),
    )
  }

  get trouble(): string | undefined {
    return this.#troubles.size === 0 ? undefined : [...this.#troubles.values()].join('; ')
  }

  async start(): Promise<void> {
    for (const source of this.#spec.sources) await this.add(source)
    // With its share where the others have nothing of it in hand: who begins with none has to be given it later.
    for (const until = performance.now() + shareMs; !this.#hasShare && this.#state === 'open' && performance.now() < until; )
      await new Promise((resolve) => setTimeout(resolve, 20))
  }

  async add(source: Source): Promise<void> {
    this.#mustBeOpen()
    if (this.#readings.has(source.storage)) return
    const { route, group } = await joined(this.#parts, this.group, source, this.#owner, () => this.#mustBeOpen())
    const reading = { source, topic: route.topic, group, route, places: new Map<string, number>(), departed: new Departed() }
    await this.#keepPlaces(reading, route.readable).catch(() => {}) // it is done again where it is needed
    this.#readings.set(source.storage, reading)
    await this.#presence.beat().catch(() => {}) // said again and again
    void this.#balance()
  }

  #mustBeOpen(): void {
    if (this.#state !== 'open') throw new BusError('closed', 'the subscription is closed')
  }

  // ── who owns what ─────────────────────────────────────────────────────────────────────────────────────────────────

  #balance(): Promise<void> {
    this.#wanted = true
    this.#balancing ??= this.#balanceAll().finally(() => {
      this.#balancing = undefined
    })
    return this.#balancing
  }

  async #balanceAll(): Promise<void> {
    while (this.#wanted && this.#state === 'open') {
      this.#wanted = false
      await this.#findRetries().catch(() => {})
      for (const reading of [...this.#readings.values()]) await this.#share(reading).catch((error) => this.#troubled(reading.topic, error))
    }
  }

  /** What came through POP or to classic clients of the group before, and failed or was not acknowledged, is in topics of its own. */
  async #findRetries(): Promise<void> {
    const { cluster, topics } = this.#parts
    for (const { source, topic, group } of [...this.#readings.values()]) {
      if (topic.startsWith(retryPrefix)) continue
      const found = [popRetryTopic(group, topic)]
      if (topics.isShared(source.storage) && !isPrivate(source.storage)) found.push(retryTopic(group))
      for (const retries of found) {
        if (this.#readings.has(retries)) continue
        const route = await cluster.route(retries)
        if (route && this.#state === 'open')
          this.#readings.set(retries, { source, topic: retries, group, route, places: new Map(), departed: new Departed() })
      }
    }
  }

  async #share(reading: Reading): Promise<void> {
    const { cluster, groups } = this.#parts
    const { source, topic, group } = reading
    const route = (await cluster.route(topic)) ?? reading.route
    if (route.readable.length > reading.route.readable.length) {
      await groups.ensure(route.brokers, group)
      await groups.admit(group, route, 'earliest', this.#owner)
    }
    reading.route = route
    const me = this.#client
    const clients = await groups.clients(group, route.brokers)
    reading.departed.look(clients)
    if (!clients.includes(me)) {
      // A broker that was restarted knows nobody.
      await this.#presence.beat()
      clients.push(me)
    }
    if (this.#state !== 'open') return
    const members = clients.filter((client) => sharesLanes(client, source.lanes)).sort()
    const mine = new Set(allocate(route.readable.length, members, me))
    const wanted: Queue[] = []
    for (const [i, queue] of route.readable.entries()) {
      const part = this.#owned.get(`${topic}/${queueKey(queue)}`)
      if (!mine.has(i)) {
        if (part) part.leavingUntil ??= performance.now() + this.#handoverMs
      } else if (part) part.leavingUntil = undefined
      else wanted.push(queue)
    }
    await Promise.all(wanted.map((queue) => this.#giving.get(`${topic}/${queueKey(queue)}`)))
    if (this.#state !== 'open') return
    this.#handOver()
    this.#wake()
    this.#troubles.delete(topic)
    if (!topic.startsWith(retryPrefix) && wanted.some((queue) => !reading.places.has(queueKey(queue)))) {
      await groups.admit(group, route, source.from, this.#owner)
      await this.#keepPlaces(reading, wanted)
    }
    const young = await this.#restarts.young(group, topic, route.brokers)
    if (young.size > 0) this.#balanceIn(graceMs)
    const forgotten = wanted.filter(({ broker }) => young.has(broker.name))
    if (forgotten.length > 0) await this.#keepPlaces(reading, forgotten).catch(() => {}) // done again where it is needed
    const free = await Promise.all(
      wanted.map(async (queue) => !young.has(queue.broker.name) && this.#locks.mayAsk(group, topic, queue, this.#owner)),
    )
    const asked = wanted.filter((_, i) => free[i])
    const askedAt = performance.now()
    const locked = await this.#locks.lock(group, topic, asked, this.#owner)
    await Promise.all(locked.map((queue) => this.#begin(reading, queue, askedAt)))
    this.#hasShare = locked.length === wanted.length
    if (!this.#hasShare) this.#balanceIn(againMs)
    await this.#bury(
      reading,
      wanted.filter((queue) => !locked.includes(queue)),
    )
  }

  /** What the dead owned: also queues that somebody else is to have, who may not have been there yet when their owner died. */
  async #bury({ group, topic, route, departed }: Reading, missing: readonly Queue[]): Promise<void> {
    const all = departed.isDue
    const queues = all ? route.readable.filter((queue) => !this.#owned.has(`${topic}/${queueKey(queue)}`)) : missing
    const buried = await Promise.allSettled(queues.map((queue) => this.#locks.bury(group, topic, queue, departed)))
    if (all && buried.every(({ status }) => status === 'fulfilled')) departed.buried()
    if (departed.dueMs !== undefined) this.#balanceIn(departed.dueMs)
  }

  /** In so long at the latest. */
  #balanceIn(ms: number): void {
    if (this.#state !== 'open') return
    const at = performance.now() + ms
    if (this.#balanceAgain && this.#balanceAgainAt <= at) return
    clearTimeout(this.#balanceAgain)
    this.#balanceAgainAt = at
    this.#balanceAgain = setTimeout(() => {
      this.#balanceAgain = undefined
      void this.#balance()
    }, ms)
  }

  /**
   * A broker that is killed before it has written anything down forgets where a group stands, and that there is one: it is
   * told again, by whoever is to read the queue next, where that was.
   */
  async #keepPlaces({ group, topic, places }: Reading, queues: readonly Queue[]): Promise<void> {
    const { groups } = this.#parts
    await Promise.all(
      queues.map(async (queue) => {
        const key = queueKey(queue)
        const place = await groups.committed(group, topic, queue)
        const known = places.get(key)
        if (place === undefined && known !== undefined) await groups.commit(group, topic, queue, known)
        else if (place !== undefined && known === undefined) places.set(key, place)
      }),
    )
  }

  async #begin(reading: Reading, queue: Queue, lockedAt: number): Promise<void> {
    const { source, topic, group } = reading
    try {
      await this.#locks.own(group, topic, queue, this.#owner)
      await this.#keepPlaces(reading, [queue])
      const offset = (await this.#parts.groups.committed(group, topic, queue)) ?? 0
      const settled = await this.#locks.readSettled(group, topic, queue, offset)
      const epoch = await this.#locks.nextEpoch(group, topic, queue)
      if (this.#state !== 'open') throw new BusError('closed', 'the subscription is closed')
      const part = new QueuePart({ topic, group, queue, source, epoch, offset, settled }, lockedAt, this.#finished, this.#laneOf)
      this.#owned.set(part.scope, part)
      this.#sink.assigned(part.scope, epoch)
      void this.#pull(part)
    } catch (error) {
      await this.#locks.release(group, topic, queue, this.#owner)
      if (this.#state !== 'closed') this.#balanceIn(againMs)
      this.#troubled(topic, error)
    }
  }

  /** Queues that are to go, once the core has given back what is in hand of them, or their time is over. */
  #handOver = (): void => {
    clearTimeout(this.#handover)
    if (this.#state === 'closed') return
    const now = performance.now()
    let left = false
    for (const part of this.#owned.values()) {
      if (part.leavingUntil === undefined) continue
      if (this.#giving.has(part.scope)) continue
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
      this.#sink.leaving(part.scope)
    }
    if (left) this.#handover = setTimeout(this.#handOver, 20)
  }

  async #give(part: QueuePart): Promise<void> {
    const { group, topic, queue } = part.place
    await this.#leave(part).catch(() => {})
    if (part.leavingUntil === undefined || this.#owned.get(part.scope) !== part) return
    this.#revoke(part)
    await this.#locks.release(group, topic, queue, this.#owner)
  }

  #revoke(part: QueuePart): void {
    if (this.#owned.get(part.scope) !== part) return
    this.#owned.delete(part.scope)
    this.#resume(part)
    if (this.#state !== 'closed') this.#sink.revoked(part.scope, part.place.epoch)
  }

  /** Says again what is ours. What a broker does not grant is somebody else's by now. */
  async #renew(): Promise<void> {
    if (this.#renewing || this.#state === 'closed') return
    clearTimeout(this.#renewAgain)
    const byPlace = Map.groupBy(this.#owned.values(), ({ place: { group, topic, queue } }) => `${group}\n${topic}\n${queue.broker.name}`)
    this.#renewing = Promise.all([...byPlace.values()].map((parts) => this.#renewSome(parts))).then(() => {
      this.#renewing = undefined
    })
    await this.#renewing
    if ([...this.#owned.values()].some(({ doubtful }) => doubtful)) this.#renewAgain = setTimeout(() => void this.#renew(), againMs).unref()
    else this.#wake()
  }

  async #renewSome(parts: readonly QueuePart[]): Promise<void> {
    const { group, topic } = parts[0]!.place
    const askedAt = performance.now()
    try {
      const queues = parts.map(({ place }) => place.queue)
      // The broker knows no member any more either, and whose lock is no member's is given away.
      if (parts.some(({ doubtful }) => doubtful)) await this.#presence.beat().catch(() => {})
      const ours = new Set(await this.#parts.groups.lock(group, topic, queues, this.#owner))
      for (const part of parts) {
        if (this.#owned.get(part.scope) !== part) {
          // Given up meanwhile, and locked once more by this question if that was heard last.
          if (!this.#owned.has(part.scope)) await this.#locks.unlock(group, topic, part.place.queue, this.#owner)
          continue
        }
        if (!ours.has(part.place.queue)) {
          this.#revoke(part)
          continue
        }
        part.lockedAt = askedAt
        // One that was killed has forgotten the last seconds of it, and who joins then may put the group at its beginning.
        part.tellAgain()
        if (!part.doubtful) {
          void this.#commit(part).catch(() => {})
          continue
        }
        part.doubtful = false
        void this.#locks.own(group, topic, part.place.queue, this.#owner).catch(() => {})
        this.#resume(part)
        void this.#commit(part).catch(() => {})
      }
    } catch {
      // It is asked again, and the time runs on.
    }
  }

  #lostBroker(address: string): void {
    if (this.#state === 'closed') return
    this.#locks.beginAnew()
    for (const { departed } of this.#readings.values()) departed.beginAnew()
    for (const part of this.#owned.values()) if (addressText(part.place.queue.broker.address) === address) part.doubtful = true
    clearTimeout(this.#renewAgain)
    this.#renewAgain = setTimeout(() => void this.#renew(), 20)
    void this.#presence.beat().catch(() => {})
  }

  /** Unheard for so long the broker may have given away what was ours. */
  #mindTheTime(): void {
    const now = performance.now()
    for (const part of this.#owned.values()) if (now - part.lockedAt > trustMs) this.#revoke(part)
    if (![...this.#owned.values()].some(({ doubtful }) => doubtful)) this.#finished.tick(now)
  }

  #troubled(topic: string, thrown: unknown): void {
    const error = toBusError(thrown, 'engine_unavailable')
    if (!error.retryable && error.code !== 'closed') this.#troubles.set(topic, `nothing comes from topic '${topic}': ${error.message}`)
  }

  // ── from the broker to the core ───────────────────────────────────────────────────────────────────────────────────

  async #pull(part: QueuePart): Promise<void> {
    const { topic, queue, group } = part.place
    const what = `group '${group}' on topic '${topic}'`
    while (this.#state !== 'closed' && this.#owned.get(part.scope) === part) {
      if (!this.#mayPull(part)) {
        await new Promise<void>((resolve) => this.#paused.set(part, resolve))
        this.#paused.delete(part)
        continue
      }
      try {
        const connection = await this.#pool.to(queue.broker.address)
        const from = part.cursor
        const fields = pullFields(topic, queue.id, from, pullWaitMs, group)
        const frame = await connection.ask(request.pull, fields, what, undefined, pullWaitMs + answerMs)
        const { messages, next } = pulled(frame.code, frame.fields, frame.body, frame.remark, from, what)
        part.push(messages, next)
        this.#troubles.delete(topic)
        if (messages.length > 0) this.#wake()
      } catch (error) {
        this.#troubled(topic, unavailable(error))
        await new Promise((resolve) => setTimeout(resolve, againMs))
      }
    }
  }

  #mayPull(part: QueuePart): boolean {
    if (this.#state !== 'open' || part.leavingUntil !== undefined || part.buffered >= aheadOfPart) return false
    let all = 0
    for (const { buffered } of this.#owned.values()) all += buffered
    return all < aheadOfAll
  }

  #resume(part: QueuePart): void {
    this.#paused.get(part)?.()
  }

  #laneOf = (delivery: Delivery): string | undefined => {
    if (this.#spec.order === 'topic') return ''
    return delivery.key
  }

  #wake(): void {
    if (this.#state !== 'closed') this.#scheduled ??= setImmediate(this.#run)
  }

  #run = (): void => {
    this.#scheduled = undefined
    if (this.#state !== 'open') return
    const now = Date.now()
    const batch = this.#collect(now)
    if (batch.length > 0) this.#sink.deliver(batch)
    for (const [part, resume] of this.#paused) if (this.#mayPull(part)) resume()
    // What an owner before had settled is passed over, and nobody will settle it again.
    for (const part of this.#owned.values())
      if (part.inHand.size === 0 && part.floor > part.committed && !part.doubtful && !part.committing)
        void this.#commit(part).catch(() => {})
    if (batch.length >= mostAtOnce) this.#wake()
    else this.#wakeWhenDue(now)
  }

  /** From each queue in turn, so that none waits for another. */
  #collect(now: number): Delivery[] {
    const batch: Delivery[] = []
    for (let more = true; more && batch.length < mostAtOnce; ) {
      more = false
      for (const part of this.#owned.values()) {
        if (this.#messages < 1 || this.#bytes <= 0) return batch
        const delivery = part.next(now)
        if (!delivery) continue
        this.#messages--
        this.#bytes -= delivery.body.byteLength
        part.take(delivery)
        batch.push(delivery)
        more = true
      }
    }
    return batch
  }

  /** `looked`: the time of the last look. What came due since then was not seen by it. */
  #wakeWhenDue(looked: number): void {
    clearTimeout(this.#due)
    let due = Number.POSITIVE_INFINITY
    for (const part of this.#owned.values()) due = Math.min(due, part.dueAt())
    if (due === Number.POSITIVE_INFINITY || due <= looked) return
    this.#due = setTimeout(() => this.#wake(), Math.min(Math.max(0, due - Date.now()) + 1, longestTimerMs))
  }

  // ── from the core ─────────────────────────────────────────────────────────────────────────────────────────────────

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    if (this.#state === 'closed') return batch.map(() => 'lost')
    // Who was stopped for long speaks before its timers do.
    this.#mindTheTime()
    const touched = new Set<QueuePart>()
    const results = batch.map((settlement) => this.#apply(settlement, touched))
    this.#wake()
    if (touched.size === 0) return results
    try {
      await Promise.all([...touched].map((part) => this.#commit(part)))
    } catch (error) {
      throw unavailable(error)
    }
    // What was given away while its commit was on its way may not have been committed: its next owner begins before it.
    return results.map((result, i) => (batch[i]!.kind === 'ack' && !this.#partOf(batch[i]!.delivery) ? 'lost' : result))
  }

  #apply(settlement: Settlement, touched: Set<QueuePart>): SettleResult {
    const { kind, delivery } = settlement
    const part = this.#partOf(delivery)
    if (!part) return 'lost'
    const offset = offsetOf(delivery)
    if (!part.inHand.has(offset)) {
      if (kind !== 'ack' || !part.isSettled(offset)) return 'lost'
      touched.add(part) // the answer to its commit was lost on the way
      return 'confirmed'
    }
    if (kind === 'ack') {
      part.ack(offset)
      touched.add(part)
    } else if (kind === 'release') part.release(offset, Date.now() + settlement.delayMs)
    return 'confirmed'
  }

  #partOf({ scope, fence }: Delivery): QueuePart | undefined {
    const part = this.#owned.get(scope ?? '')
    return part?.place.epoch === fence ? part : undefined
  }

  /** Resolves once the broker knows what is settled of the queue now. */
  async #commit(part: QueuePart): Promise<void> {
    while ((part.floor > part.committed || part.newRows.size > 0) && this.#owned.get(part.scope) === part) {
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
    const { floor } = part
    const past = part.settledOffsets()
    const rows = new Set(past.map(rowOf).filter((row) => part.newRows.has(row)))
    part.newRows.clear()
    try {
      if (floor > part.committed) await this.#parts.groups.commit(group, topic, queue, floor)
      if (rows.size > 0) await this.#locks.markSettled(group, topic, queue, rows, [...sinceRow(floor, part.committed), ...past])
      part.committed = floor
    } catch (error) {
      for (const row of rows) part.newRows.add(row)
      throw error
    }
  }

  /** The next owner is told no more than what is so. */
  async #leave(part: QueuePart): Promise<void> {
    part.leavingUntil ??= performance.now()
    // Once more all of it: a broker that was killed meanwhile may have been told less by those who joined then.
    part.tellAgain()
    await this.#commit(part)
  }

  handOf(storage: string): InHand {
    let count = 0
    let waiting = 0
    let past = 0
    let oldestAt: number | undefined
    for (const part of this.#owned.values()) {
      if (part.place.source.storage !== storage) continue
      count += part.inHand.size
      waiting += part.waiting
      past += part.settledPast
      for (const { at } of part.inHand.values()) if (oldestAt === undefined || at < oldestAt) oldestAt = at
    }
    return { count, waiting, beyond: -past, oldestAt }
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The queues stay until close: what is in hand can still be settled. */
  async stop(): Promise<void> {
    if (this.#state === 'open') this.#state = 'stopped'
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'stopped'
    // What it locks in this moment has to be given back too.
    await within(endMs, this.#balancing ?? Promise.resolve())
    const parts = [...this.#owned.values()]
    await within(endMs, Promise.allSettled(parts.map((part) => this.#leave(part))))
    this.#state = 'closed'
    for (const timer of this.#timers) clearInterval(timer)
    for (const timer of [this.#due, this.#handover, this.#balanceAgain, this.#renewAgain]) clearTimeout(timer)
    clearImmediate(this.#scheduled)
    for (const resume of this.#paused.values()) resume()
    this.#owned.clear()
    // A lock that is said once more in this moment would outlive its end.
    await within(endMs, Promise.allSettled([this.#renewing, ...this.#giving.values()]))
    await within(
      endMs,
      Promise.allSettled(parts.map(({ place: { group, topic, queue } }) => this.#locks.release(group, topic, queue, this.#owner))),
    )
    await within(endMs, this.#presence.end())
    this.#pool.close()
    this.#parts.onClose()
  }
}
