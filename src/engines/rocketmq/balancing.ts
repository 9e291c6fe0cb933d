import { isPrivate } from '../../topic/name.ts'
import type { Source } from '../engine.ts'
import { allocate } from './allocating.ts'
import type { Queue, Route } from './cluster.ts'
import { Departed } from './departed.ts'
import { sharesLanes } from './groups.ts'
import { admitMore, joined, type Read, type SubscriptionParts } from './joining.ts'
import { popRetryTopic, retryPrefix, retryTopic } from './names.ts'
import type { Ownership } from './ownership.ts'
import type { Presence } from './presence.ts'

const everyMs = 3000
const againMs = 200

export interface Reading extends Read {
  route: Route
  /** Where the group stood in each queue when it was seen first. */
  readonly places: Map<string, number>
  readonly departed: Departed
}

export interface BalancingParts extends SubscriptionParts {
  readonly owner: string
  readonly returnMs: number
  readonly presence: Presence
  readonly ownership: Ownership
  readonly isOpen: () => boolean
  /** Why nothing comes from a topic, or that it does again. */
  readonly trouble: (topic: string, error: unknown) => void
}

/** Which queues of its topics a member is to own: all of its group divide them by their names, as often as one comes or goes. */
export class Balancing {
  readonly readings = new Map<string, Reading>()
  /** Whether it owns all that it is to own. */
  hasShare = false
  readonly #parts: BalancingParts
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined
  #wanted = false
  #again: NodeJS.Timeout | undefined
  #againAt = 0

  constructor(parts: BalancingParts) {
    this.#parts = parts
    this.#timer = setInterval(() => void this.run(), everyMs).unref()
  }

  async add(name: string, source: Source, mustBeOpen: () => void): Promise<void> {
    const { ownership, presence, owner } = this.#parts
    const { route, group } = await joined(this.#parts, name, source, owner, mustBeOpen)
    const reading = {
      source,
      topic: route.topic,
      group,
      route,
      places: new Map<string, number>(),
      departed: new Departed(this.#parts.returnMs),
    }
    await ownership.keepPlaces(reading, route.readable).catch(() => {}) // it is done again where it is needed
    this.readings.set(source.storage, reading)
    await presence.beat().catch(() => {}) // said again and again
    void this.run()
  }

  run(): Promise<void> {
    this.#wanted = true
    this.#running ??= this.#runAll().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** In so long at the latest. */
  runIn(ms: number): void {
    if (!this.#parts.isOpen()) return
    const at = performance.now() + ms
    if (this.#again && this.#againAt <= at) return
    clearTimeout(this.#again)
    this.#againAt = at
    this.#again = setTimeout(() => {
      this.#again = undefined
      void this.run()
    }, ms)
  }

  async #runAll(): Promise<void> {
    const { isOpen, trouble } = this.#parts
    while (this.#wanted && isOpen()) {
      this.#wanted = false
      await this.#findRetries().catch(() => {})
      for (const reading of [...this.readings.values()]) await this.#share(reading).catch((error) => trouble(reading.topic, error))
    }
  }

  /** What came through POP or to classic clients of the group before, and failed or was not acknowledged, is in topics of its own. */
  async #findRetries(): Promise<void> {
    const { cluster, topics, isOpen } = this.#parts
    for (const { source, topic, group } of [...this.readings.values()]) {
      if (topic.startsWith(retryPrefix)) continue
      const found = [popRetryTopic(group, topic)]
      if (topics.isShared(source.storage) && !isPrivate(source.storage)) found.push(retryTopic(group))
      for (const retries of found) {
        if (this.readings.has(retries)) continue
        const route = await cluster.route(retries)
        if (route && isOpen())
          this.readings.set(retries, {
            source,
            topic: retries,
            group,
            route,
            places: new Map(),
            departed: new Departed(this.#parts.returnMs),
          })
      }
    }
  }

  async #share(reading: Reading): Promise<void> {
    const { cluster, groups, ownership, owner, presence, isOpen, trouble } = this.#parts
    const { source, topic, group, departed } = reading
    const route = (await cluster.route(topic)) ?? reading.route
    await admitMore(this.#parts, reading, route, owner)
    reading.route = route
    const me = presence.client
    const clients = await groups.clients(group, route.brokers)
    departed.look(clients)
    if (!clients.includes(me)) {
      // A broker that was restarted knows nobody.
      await presence.beat()
      clients.push(me)
    }
    if (!isOpen()) return
    const members = clients.filter((client) => sharesLanes(client, source.lanes)).sort()
    const mine = new Set(allocate(route.readable.length, members, me))
    const wanted = ownership.divide(
      topic,
      route.readable.map((queue, i) => ({ queue, mine: mine.has(i) })),
    )
    await ownership.given(topic, wanted)
    if (!isOpen()) return
    ownership.handOver()
    trouble(topic, undefined)
    await ownership.passPurged(topic).catch(() => {}) // it is looked for again and again
    const { missing, young } = await ownership.take(reading, wanted)
    this.hasShare = missing.length === 0
    if (!this.hasShare) this.runIn(againMs)
    if (young.size > 0) this.runIn(everyMs / 2)
    await this.#bury(reading, missing, young)
  }

  /** What the dead owned: also queues that somebody else is to have, who may not have been there yet when their owner died. */
  async #bury(reading: Reading, missing: readonly Queue[], young: ReadonlySet<string>): Promise<void> {
    const { ownership } = this.#parts
    const { departed, route, topic } = reading
    const all = departed.isDue
    const queues = all ? route.readable.filter((queue) => !ownership.has(topic, queue)) : missing
    const buried = await ownership.bury(reading, queues, young)
    if (all && buried) departed.buried()
    if (departed.dueMs !== undefined) this.runIn(Math.max(againMs, departed.dueMs))
  }

  /** Resolves once nothing is taken any more. */
  async end(): Promise<void> {
    clearInterval(this.#timer)
    clearTimeout(this.#again)
    await this.#running
  }
}
