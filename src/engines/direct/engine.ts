import { resolve } from 'node:path'
import { BusError } from '../../errors.ts'
import { isPattern, overlaps } from '../../topic/pattern.ts'
import type {
  Capabilities,
  Delivery,
  DeliverySink,
  Engine,
  EngineAdmin,
  EngineHealth,
  EngineSubscription,
  Live,
  Outgoing,
  PublishOutcome,
  ReadFrom,
  Settlement,
  SettleResult,
  Source,
  Stored,
  SubscriptionSpec,
} from '../engine.ts'
import { Database } from './database.ts'
import { Groups, type Reader } from './groups.ts'
import { DirectKv } from './kv.ts'
import { DirectLedger } from './ledger.ts'
import { columns, type Row, Topics } from './topics.ts'
import { Turns } from './turns.ts'

export interface EmbeddedOptions {
  /** The folder of the store; undefined = in memory. */
  readonly dir: string | undefined
  readonly dedupeWindowMs?: number
  readonly maxBytes?: number
  readonly historyMs?: number
}

const sweepMs = 5000
const slowPollMs = 1000

/** The embedded engine: SQLite in this process, shared with others through the file. */
export async function openEmbedded(options: EmbeddedOptions): Promise<Engine> {
  return new DirectEngine(options)
}

class DirectEngine implements Engine {
  readonly name = 'embedded'
  readonly capabilities: Capabilities
  readonly ledger: DirectLedger
  readonly kv: DirectKv
  readonly admin: EngineAdmin
  readonly live: Live
  readonly #database: Database
  readonly #turns: Turns
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #options: EmbeddedOptions
  readonly #subscriptions = new Set<DirectSubscription>()
  readonly #tails = new Set<() => void>()
  readonly #health = new Set<(health: EngineHealth) => void>()
  readonly #topicWatchers = new Set<{ seen: Set<string>; listener: (storage: string) => void }>()
  readonly #stops: (() => void)[] = []
  readonly #process: Promise<number>
  #version = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #closing: Promise<void> | undefined

  constructor(options: EmbeddedOptions) {
    this.#options = options
    const dir = options.dir === undefined ? undefined : resolve(options.dir)
    const windowMs = options.dedupeWindowMs ?? 600_000
    this.#database = new Database(dir)
    this.#turns = new Turns(this.#database, (ok, detail) => {
      for (const listener of this.#health) listener({ ok, detail })
    })
    this.#topics = new Topics(this.#database, windowMs, options.maxBytes ?? Number.POSITIVE_INFINITY)
    this.#groups = new Groups(this.#database, this.#topics)
    this.ledger = new DirectLedger(this.#database, this.#turns, `embedded (${options.dir ?? 'memory'})`)
    this.kv = new DirectKv(this.#database, this.#turns)
    this.capabilities = {
      durability: dir === undefined ? 'memory' : 'disk',
      ordering: 'group',
      orderedPipelining: true,
      dedupeWindowMs: windowMs,
      delayMaxMs: Number.MAX_SAFE_INTEGER,
      lease: { maxMs: Number.POSITIVE_INFINITY },
      settle: 'message',
      redelivered: true,
      filter: 'broker',
      history: true,
      headers: true,
      maxMessageBytes: 64 * 1024 * 1024,
      ledger: 'native',
    }
    this.live = { subscribe: async (pattern, listener) => this.#tail(pattern, listener) }
    this.admin = this.#makeAdmin()
    this.#process = this.#turns.write(() =>
      Number(this.#database.run('INSERT INTO process(lock, pid, started_at) VALUES(?, ?, ?)', '', process.pid, Date.now()).lastInsertRowid),
    )
    this.#process.catch(() => {})
    this.#version = this.#database.version
    if (dir !== undefined) this.#stops.push(this.#database.bell(dir, () => this.#look()))
    const poll = setInterval(() => this.#look(), slowPollMs)
    const sweep = setInterval(() => this.#sweep(), sweepMs)
    poll.unref()
    sweep.unref()
    this.#stops.push(
      () => clearInterval(poll),
      () => clearInterval(sweep),
    )
    this.#arm(this.#topics.nextDue())
  }

  /** Another process may have written. */
  #look(): void {
    if (this.#closing) return
    const { version } = this.#database
    if (version === this.#version) return
    this.#version = version
    this.#wake()
  }

  #wake(): void {
    this.#topics.refresh()
    this.#tellTopics()
    for (const subscription of this.#subscriptions) subscription.claim()
    for (const tail of this.#tails) tail()
    this.ledger.look()
    this.kv.look()
    this.#arm(this.#topics.nextDue())
  }

  /** Looks again at that time: something scheduled, given back or leased elsewhere is due then. */
  #arm(at: number | undefined): void {
    if (at === undefined || at >= this.#timerAt || this.#closing) return
    clearTimeout(this.#timer)
    this.#timerAt = at
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY
        this.#turns
          .write(() => this.#topics.due(Date.now()))
          .then(
            (next) => {
              this.#arm(next)
              this.#wake()
            },
            () => this.#arm(Date.now() + 1000),
          )
      },
      Math.min(2 ** 31 - 1, Math.max(1, at - Date.now())),
    )
  }

  async publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    this.#mustBeOpen()
    let outcomes: PublishOutcome[]
    try {
      outcomes = await this.#turns.write(() => this.#topics.publish(batch))
    } catch (error) {
      return batch.map(() => ({ ok: false, error: error as BusError }))
    }
    this.#wake()
    return outcomes
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<EngineSubscription> {
    this.#mustBeOpen()
    const process = await this.#process
    const subscription = new DirectSubscription(spec, sink, process, this.#turns, this.#groups, (at) => this.#arm(at))
    await subscription.addAll(spec.sources)
    this.#subscriptions.add(subscription)
    subscription.onClose = () => this.#subscriptions.delete(subscription)
    return subscription
  }

  async read(storage: string, after: ReadFrom, limit: number) {
    this.#mustBeOpen()
    this.#topics.refresh()
    return this.#topics.read(storage, after, limit)
  }

  #tail(pattern: string, listener: (batch: readonly Stored[]) => void): { close(): Promise<void> } {
    this.#mustBeOpen()
    let at = this.#database.get<{ n: number }>('SELECT coalesce(max(last_seq), 0) AS n FROM topic')!.n
    const look = (): void => {
      for (;;) {
        const rows = this.#database.all<Row>(`SELECT ${columns} FROM message WHERE seq > ? ORDER BY seq LIMIT 500`, at)
        if (rows.length === 0) return
        at = rows.at(-1)!.seq
        const batch = rows
          .map((row) => this.#topics.stored(row))
          .filter(({ name, storage }) => (isPattern(pattern) ? overlaps(pattern, name) : pattern === name || pattern === storage))
        if (batch.length > 0) listener(batch)
      }
    }
    this.#tails.add(look)
    return {
      close: async () => {
        this.#tails.delete(look)
      },
    }
  }

  onHealth(listener: (health: EngineHealth) => void): () => void {
    this.#health.add(listener)
    listener({ ok: true, detail: 'open' })
    return () => this.#health.delete(listener)
  }

  #tellTopics(): void {
    if (this.#topicWatchers.size === 0) return
    const names = this.#database.all<{ name: string }>('SELECT name FROM topic')
    for (const { seen, listener } of this.#topicWatchers) {
      for (const { name } of names) {
        if (seen.has(name)) continue
        seen.add(name)
        listener(name)
      }
    }
  }

  #makeAdmin(): EngineAdmin {
    const [turns, topics, groups] = [this.#turns, this.#topics, this.#groups]
    return {
      declare: (storage, retention) => turns.write(() => void topics.ensure(storage, retention)).then(() => this.#tellTopics()),
      topics: async () => topics.list(),
      watchTopics: (listener) => {
        const watcher = { seen: new Set<string>(), listener }
        this.#topicWatchers.add(watcher)
        this.#tellTopics()
        return () => this.#topicWatchers.delete(watcher)
      },
      groups: async (storage) => groups.list(storage),
      reset: (storage, group, to) => turns.write(() => groups.reset(storage, group, to)),
      deleteGroup: (storage, group) => turns.write(() => groups.remove(storage, group)),
      deleteTopic: (storage) => turns.write(() => groups.removeTopic(storage)),
      purge: async (storage, before) => {
        const topic = topics.find(storage)
        if (topic === undefined) throw new BusError('not_found', `there is no topic '${storage}'`)
        const upTo = before === undefined ? topics.after(topic, 'end') : topics.after(topic, before) - 1
        let removed = 0
        for (;;) {
          const some = await turns.write(() => topics.remove(topic, upTo, 1000))
          removed += some
          if (some === 0) return removed
        }
      },
    }
  }

  /** Deletes what every group has settled and is older than the history, or past the topic's own retention; a little at a time. */
  #sweep(): void {
    if (this.#closing || this.#turns.pending > 0) return
    const historyMs = this.#options.historyMs ?? 7 * 86_400_000
    const now = Date.now()
    this.#turns
      .write(() => {
        for (const topic of this.#database.all<{
          id: number
          age_ms: number | null
          most_messages: number | null
          most_bytes: number | null
          messages: number
          bytes: number
        }>('SELECT id, age_ms, most_messages, most_bytes, messages, bytes FROM topic WHERE messages > 0')) {
          const floor = this.#database.get<{ seq: number | null }>(
            `SELECT min(seq) AS seq FROM (SELECT cursor AS seq FROM grp WHERE topic = ?1 UNION ALL SELECT l.seq - 1 FROM lease l JOIN grp g ON g.id = l.grp WHERE g.topic = ?1
             UNION ALL SELECT w.seq - 1 FROM waiting w JOIN grp g ON g.id = w.grp WHERE g.topic = ?1)`,
            topic.id,
          )?.seq
          const settled = floor ?? Number.MAX_SAFE_INTEGER
          const old = this.#topics.after(topic.id, { timeMs: now - (topic.age_ms ?? historyMs) })
          let upTo = Math.min(settled, old)
          const excess = Math.max(
            topic.most_messages === null ? 0 : topic.messages - topic.most_messages,
            topic.most_bytes === null || topic.bytes <= topic.most_bytes
              ? 0
              : Math.ceil(((topic.bytes - topic.most_bytes) / topic.bytes) * topic.messages),
          )
          if (excess > 0) {
            const last =
              this.#database.get<{ seq: number }>(
                'SELECT seq FROM message WHERE topic = ? ORDER BY seq LIMIT 1 OFFSET ?',
                topic.id,
                excess - 1,
              )?.seq ?? 0
            upTo = Math.max(upTo, Math.min(settled, last))
          }
          this.#topics.remove(topic.id, upTo, 1000)
        }
        this.#database.run('DELETE FROM recent_id WHERE at < ?', now - this.capabilities.dedupeWindowMs)
        this.#database.run('DELETE FROM record_change WHERE at < ?', now - 600_000)
      }, false)
      .catch(() => {})
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new BusError('closed', 'the store is closed')
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      for (const subscription of [...this.#subscriptions]) await subscription.close().catch(() => {})
      await this.#process
        .then((id) => this.#turns.write(() => void this.#database.run('DELETE FROM process WHERE id = ?', id), false))
        .catch(() => {})
      for (const stop of this.#stops) stop()
      clearTimeout(this.#timer)
      this.#turns.close()
      this.#database.close()
    })()
    return this.#closing
  }
}

class DirectSubscription implements EngineSubscription {
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #process: number
  readonly #turns: Turns
  readonly #groups: Groups
  readonly #arm: (at: number | undefined) => void
  readonly #readers = new Map<string, Reader>()
  #messages = 0
  #bytes = 0
  #claiming: Promise<void> | undefined
  #again = false
  #stopped = false
  #closed = false
  onClose: () => void = () => {}

  constructor(
    spec: SubscriptionSpec,
    sink: DeliverySink,
    process: number,
    turns: Turns,
    groups: Groups,
    arm: (at: number | undefined) => void,
  ) {
    this.#spec = spec
    this.#sink = sink
    this.#process = process
    this.#turns = turns
    this.#groups = groups
    this.#arm = arm
  }

  async addAll(sources: readonly Source[]): Promise<void> {
    const readers = await this.#turns.write(() => sources.map((source) => this.#groups.join(source, this.#spec, this.#process)), false)
    for (const [i, source] of sources.entries()) this.#readers.set(source.storage, readers[i]!)
  }

  async add(source: Source): Promise<void> {
    await this.addAll([source])
    this.claim()
  }

  grant(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.claim()
  }

  claim(): void {
    if (this.#stopped || this.#messages <= 0) return
    if (this.#claiming) {
      this.#again = true
      return
    }
    const now = Date.now()
    const readers = [...this.#readers.values()].filter((reader) => this.#groups.hasWork(reader, now))
    for (const reader of this.#readers.values()) this.#arm(this.#groups.nextDue(reader))
    if (readers.length === 0) return
    this.#claiming = this.#turns
      .write(() => this.#claimFrom(readers), false)
      .then(
        ({ deliveries, more }) => {
          this.#messages -= deliveries.length
          for (const delivery of deliveries) this.#bytes -= delivery.body.byteLength
          if (deliveries.length > 0) this.#sink.deliver(deliveries)
          this.#again ||= more
        },
        () => this.#arm(Date.now() + 100),
      )
      .then(() => {
        this.#claiming = undefined
        if (!this.#again) return
        this.#again = false
        this.claim()
      })
  }

  #claimFrom(readers: readonly Reader[]): { deliveries: Delivery[]; more: boolean } {
    const deliveries: Delivery[] = []
    let more = false
    let bytes = this.#bytes
    for (const reader of readers) {
      const messages = this.#messages - deliveries.length
      if (messages <= 0 || this.#stopped) break
      const claimed = this.#groups.claim(
        reader,
        this.#spec.orderScope === 'group' ? this.#spec.order : 'none',
        this.#spec.leaseMs,
        Math.min(messages, 1000),
        bytes,
        Date.now(),
      )
      for (const delivery of claimed.deliveries) bytes -= delivery.body.byteLength
      deliveries.push(...claimed.deliveries)
      more ||= claimed.more && deliveries.length < this.#messages
    }
    return { deliveries, more }
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    return this.#turns
      .write(() => this.#groups.settle(this.#readers, batch, Date.now()), false)
      .then((results) => {
        // A release or an acknowledgement may have made room for a key that another member waits for, or this one.
        this.claim()
        return results
      })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    while (this.#claiming) await this.#claiming
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.stop()
    await this.#turns.write(() => {
      for (const reader of this.#readers.values()) this.#groups.leave(reader)
    }, false)
    this.onClose()
  }
}
