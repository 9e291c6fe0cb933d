import { BusError, toBusError } from '../../errors.ts'
import type { Cluster } from './cluster.ts'
import { Feed, type FeedHandlers } from './feed.ts'
import type { Nsqd } from './nsqd.ts'

const firstLookMs = 250

/** Reads one channel wherever it is: a feed for each nsqd that has the topic, those that come later too. */
export class SourceReader {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #channel: string
  readonly #leaseMs: number
  readonly #handlers: FeedHandlers
  readonly #feeds = new Map<string, Feed>()
  #timer: NodeJS.Timeout | undefined
  #waitMs = firstLookMs
  #stopped = false

  constructor(cluster: Cluster, topic: string, channel: string, leaseMs: number, handlers: FeedHandlers) {
    this.#cluster = cluster
    this.#topic = topic
    this.#channel = channel
    this.#leaseMs = leaseMs
    this.#handlers = handlers
  }

  /**
   * Resolves once all nsqds that are there have the channel: what is published from now on is kept for it. The others are
   * tried again and again.
   * @throws BusError what the first nsqd answered, when none lets us in; `closed` when it was stopped meanwhile
   */
  async start(): Promise<void> {
    const { lookup } = this.#cluster
    if (lookup && !this.#channel.includes('#')) await lookup.register(this.#topic, this.#channel)
    const nodes = await this.#cluster.nodesOf(this.#topic)
    if (this.#stopped) throw new BusError('closed', 'the subscription is closed')
    const feeds = nodes.map((nsqd) => this.#read(nsqd))
    // One that is away may take its time to say so.
    const there = feeds.filter(({ nsqd }) => nsqd.connection !== undefined)
    const results = await Promise.allSettled((there.length > 0 ? there : feeds).map(({ first }) => first))
    const failures = results.flatMap((result): BusError[] => (result.status === 'rejected' ? [toBusError(result.reason)] : []))
    const fatal = failures.find(({ retryable }) => !retryable)
    if (fatal || (failures.length > 0 && failures.length === results.length)) throw fatal ?? failures[0]
    if (lookup) this.#lookAgain()
  }

  #read(nsqd: Nsqd): Feed {
    let feed = this.#feeds.get(nsqd.name)
    if (!feed) {
      feed = new Feed(nsqd, this.#topic, this.#channel, this.#leaseMs, this.#cluster.options, this.#handlers)
      this.#feeds.set(nsqd.name, feed)
    }
    return feed
  }

  /** Often while the topic is nowhere yet, as its first messages come before anybody is told. */
  #lookAgain(): void {
    if (this.#stopped) return
    const mostMs = this.#cluster.options.lookupIntervalMs ?? 5000
    this.#timer = setTimeout(
      async () => {
        try {
          const nodes = await this.#cluster.nodesOf(this.#topic)
          if (this.#stopped) return
          for (const nsqd of nodes) this.#read(nsqd)
          for (const [name, feed] of this.#feeds)
            if (!feed.session && this.#cluster.find(name) === undefined) {
              this.#feeds.delete(name)
              void feed.stop()
            }
        } catch {
          // The lookup daemons are away: those that are known are read on, and health tells.
        }
        this.#lookAgain()
      },
      Math.min(mostMs, this.#waitMs) * (0.8 + Math.random() * 0.4),
    )
    this.#timer.unref()
    if (this.#feeds.size > 0) this.#waitMs = mostMs
    else this.#waitMs = Math.min(mostMs, this.#waitMs * 1.5)
  }

  /** {@link Feed.trouble}, of the first that has any. */
  get trouble(): string | undefined {
    for (const { trouble } of this.#feeds.values()) if (trouble !== undefined) return trouble
    return undefined
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await Promise.all([...this.#feeds.values()].map((feed) => feed.stop()))
  }
}
