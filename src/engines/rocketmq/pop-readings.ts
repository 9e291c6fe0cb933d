import type { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import type { Source } from '../engine.ts'
import { allocate } from './allocating.ts'
import type { Broker, Route } from './cluster.ts'
import type { Pool } from './connection.ts'
import type { PopDelivery } from './delivery.ts'
import { isOurs, ownerId } from './groups.ts'
import { admitMore, joined, type Read, type SubscriptionParts } from './joining.ts'
import { retryPrefix, retryTopic } from './names.ts'
import { Popper } from './popping.ts'
import { Presence } from './presence.ts'

/** How often it is looked whether topics have other brokers, ms. */
const lookAroundMs = 5000

interface Reading extends Read {
  readonly poppers: Map<string, Popper>
  route: Route
  /** Which of the readable queues are ours, by broker; undefined: nobody shares them by queues. */
  mine: ReadonlyMap<string, readonly number[]> | undefined
}

export interface PopReadingsParts extends SubscriptionParts {
  readonly pool: Pool
  readonly member: string
  readonly leaseMs: number
  /** How many more there is room for, at this moment. */
  readonly wanted: () => number
  readonly take: (deliveries: readonly PopDelivery[]) => void
  /** What is no message: it is acknowledged, and that is all. */
  readonly discard: (broker: Broker, deliveries: readonly PopDelivery[]) => void
  readonly isStopped: () => boolean
  /** @throws BusError `closed` */
  readonly mustBeOpen: () => void
}

/** What a member that takes by POP reads: its topics, on which brokers, and which queues where others divide them. */
export class PopReadings {
  readonly presence: Presence
  readonly #parts: PopReadingsParts
  readonly #readings = new Map<string, Reading>()
  readonly #troubles = new Map<string, string>()
  readonly #around: NodeJS.Timeout
  #looking = false

  constructor(parts: PopReadingsParts) {
    this.#parts = parts
    this.presence = new Presence(parts.pool, parts.member, () => [...this.#readings.values()])
    parts.pool.onMembers = () => {
      for (const reading of this.#readings.values()) void this.#share(reading).catch(() => {})
    }
    parts.pool.onLoss = () => this.presence.lost()
    this.#around = setInterval(() => void this.#lookAround(), lookAroundMs).unref()
  }

  get trouble(): string | undefined {
    return this.#troubles.size === 0 ? undefined : [...this.#troubles.values()].join('; ')
  }

  has(storage: string): boolean {
    return this.#readings.has(storage)
  }

  async add(name: string, source: Source): Promise<void> {
    const { member, mustBeOpen } = this.#parts
    const { route, group } = await joined(this.#parts, name, source, ownerId(member), mustBeOpen)
    const reading: Reading = { source, topic: route.topic, group, route, poppers: new Map(), mine: undefined }
    this.#readings.set(source.storage, reading)
    await this.presence.beat().catch(() => {}) // said again and again
    mustBeOpen()
    await this.#share(reading).catch(() => {}) // looked at again and again
    mustBeOpen()
    this.#readFrom(reading)
    await this.#findRetries(reading).catch(() => {}) // looked for again and again
  }

  /** What classic clients of the group failed in comes back through a topic of the group. */
  async #findRetries({ source, group, topic: main }: Reading): Promise<void> {
    if (main.startsWith(retryPrefix) || isPrivate(source.storage) || !this.#parts.topics.isShared(source.storage)) return
    const topic = retryTopic(group)
    const route = await this.#parts.cluster.route(topic)
    if (!route || this.#parts.isStopped() || this.#readings.has(topic)) return
    const reading: Reading = { source, topic, group, route, poppers: new Map(), mine: undefined }
    this.#readings.set(topic, reading)
    await this.#share(reading)
    this.#readFrom(reading)
  }

  /** Classic clients divide the queues among all members: where there are some, ours keep to their share. */
  async #share(reading: Reading): Promise<void> {
    const { route, group } = reading
    const me = this.presence.client
    const clients = await this.#parts.groups.clients(group, route.brokers)
    if (clients.every(isOurs)) reading.mine = undefined
    else {
      const members = (clients.includes(me) ? clients : [...clients, me]).sort()
      const mine = allocate(route.readable.length, members, me).map((i) => route.readable[i]!)
      reading.mine = new Map([...Map.groupBy(mine, ({ broker }) => broker.name)].map(([name, own]) => [name, own.map(({ id }) => id)]))
    }
    for (const popper of reading.poppers.values()) popper.wake()
  }

  #readFrom(reading: Reading): void {
    const { source, topic, route, poppers } = reading
    for (const broker of route.brokers) {
      if (broker.readQueues === 0 || poppers.has(broker.name)) continue
      const place = `topic '${source.storage}' on ${broker.name}`
      poppers.set(
        broker.name,
        new Popper(broker, source, topic, {
          pool: this.#parts.pool,
          group: reading.group,
          leaseMs: this.#parts.leaseMs,
          queues: () => (reading.mine === undefined ? undefined : (reading.mine.get(broker.name) ?? [])),
          connected: () => this.#admit(reading, broker),
          wanted: this.#parts.wanted,
          take: this.#parts.take,
          discard: (deliveries) => this.#parts.discard(broker, deliveries),
          trouble: (error) => this.#troubled(place, error),
        }),
      )
    }
  }

  async #admit({ group, route, topic, source }: Reading, { name }: Broker): Promise<void> {
    if (topic.startsWith(retryPrefix)) return
    const queues = route.readable.filter(({ broker }) => broker.name === name)
    await this.#parts.groups.admit(group, route, source.from, ownerId(this.#parts.member), queues)
  }

  /** Brokers may have come with the topic, with other queues, or under another address. */
  async #lookAround(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      for (const reading of this.#readings.values()) {
        await this.#findRetries(reading)
        await this.#share(reading)
        const route = await this.#parts.cluster.route(reading.topic)
        if (!route || this.#parts.isStopped() || route === reading.route) continue
        await admitMore(this.#parts, reading, route, ownerId(this.#parts.member))
        if (this.#parts.isStopped()) return
        reading.route = route
        for (const [name, popper] of reading.poppers) {
          const now = route.brokers.find((broker) => broker.name === name)
          if (now && now.address.host === popper.broker.address.host && now.address.port === popper.broker.address.port) continue
          reading.poppers.delete(name)
          this.#troubles.delete(`topic '${reading.source.storage}' on ${name}`)
          void popper.stop()
        }
        this.#readFrom(reading)
      }
    } catch {
      // The name servers are away: what is known is read on, and health tells.
    } finally {
      this.#looking = false
    }
  }

  #troubled(place: string, error: BusError | undefined): void {
    if (error === undefined) this.#troubles.delete(place)
    // A broker that is away is health's to tell.
    else if (!error.retryable) this.#troubles.set(place, `nothing comes from ${place}: ${error.message}`)
  }

  /** There may be room for more. */
  wake(): void {
    for (const { poppers } of this.#readings.values()) for (const popper of poppers.values()) popper.wake()
  }

  /** Resolves once nothing more can come. */
  async end(): Promise<void> {
    clearInterval(this.#around)
    await Promise.all([...this.#readings.values()].flatMap(({ poppers }) => [...poppers.values()].map((popper) => popper.stop())))
  }
}
