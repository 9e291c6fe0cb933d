import type { Engine } from '../../src/engines/engine.ts'
import { openNats } from '../../src/engines/nats/engine.ts'
import type { NatsOptions } from '../../src/engines/nats/options.ts'
import { type Bus, type Duration, type Subscription, topic } from '../../src/index.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { inOrder, nothingChanged, nothingLost, oneAtATime, report, type Violation } from '../../src/testing/checkers.ts'
import { Harness } from '../../src/testing/harness.ts'
import { override } from '../../src/testing/models/wrapping.ts'

const group = 'g'
const everyMs = 5

/** Quick to come back, so that a fault costs the test little; a lease that outlives an election. */
const options: NatsOptions = { reconnectWaitMs: 50, reconnectJitterMs: 50, connectTimeoutMs: 2000 }

export interface LoadOptions extends NatsOptions {
  /** Whether the topic is a definition, with partitions; else one member owns all of it. */
  partitioned?: boolean
  lease?: Duration
  /** How long a message takes, ms. */
  workMs?: number
  keys?: number
  /** The engine sends again what was not answered, and stores it as often. */
  resends?: boolean
}

/** A steady stream of keyed messages, and members that handle them, while something happens to the servers; then the rules. */
export class Load {
  readonly harness: Harness
  readonly #options: LoadOptions
  readonly #topic
  readonly #members = new Map<Subscription, Bus>()
  readonly #flying = new Set<Promise<unknown>>()
  readonly #violations: Violation[] = []
  /** Hand-overs of each message that the group has acknowledged already. */
  repeats = 0
  /** The longest time in which nobody was handed anything, ms. */
  longestGapMs = 0
  /** How many members handled something at the same time. */
  mostAtOnce = 0
  #busy = 0
  #lastAt = performance.now()
  #publisher: Bus | undefined
  #timer: NodeJS.Timeout | undefined
  #sent = 0

  /** `open`: of another engine's connections; `ledger`: where it has none. */
  constructor(url: () => string, given: LoadOptions = {}, open?: (url: string) => Promise<Engine>, ledger?: Ledger) {
    this.#options = given
    const { partitioned: _, lease: __, workMs: ___, keys: ____, resends: _____, ...nats } = given
    const connect = open ?? ((to: string) => openNats(to, { ...options, ...nats }))
    this.harness = new Harness({ name: 'load', open: async () => this.#watched(await connect(url())), ...(ledger && { ledger }) }, 'load')
    const name = this.harness.topic
    this.#topic = given.partitioned === true ? topic(`${name}.{n}`) : name
  }

  get storage(): string {
    return this.#options.partitioned === true ? `${this.harness.topic}.*` : this.harness.topic
  }

  /** What comes again must say so. */
  #watched(engine: Engine): Engine {
    return override(engine, {
      subscribe: (spec, sink) =>
        engine.subscribe(spec, {
          deliver: (batch) => {
            const now = performance.now()
            this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastAt)
            this.#lastAt = now
            for (const { id, redelivered } of batch) {
              if (!this.#handed.has(id)) this.#handed.add(id)
              else if (!redelivered && engine.capabilities.redelivered)
                this.#violations.push({ rule: 'R3', text: `${id} came again and did not say so` })
              if (this.#done.has(id)) this.repeats++
            }
            sink.deliver(batch)
          },
          lost: (deliveries, reason) => sink.lost(deliveries, reason),
          assigned: (scope, epoch) => sink.assigned(scope, epoch),
          leaving: (scope) => sink.leaving(scope),
          revoked: (scope, epoch) => sink.revoked(scope, epoch),
          warned: (text) => sink.warned(text),
        }),
    })
  }

  readonly #handed = new Set<string>()
  readonly #done = new Set<string>()

  async join(count = 1): Promise<void> {
    await Promise.all(
      Array.from({ length: count }, async () => {
        const bus = await this.harness.bus({ drain: 5000 })
        const { lease = '6s', workMs = 1 } = this.#options
        let busy = 0
        const subscription = await this.harness.subscribe(
          bus,
          this.#topic as string,
          { group, order: 'key', concurrency: 8, lease },
          async ({ id }) => {
            busy++
            if (busy === 1) this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#busy)
            await new Promise((resolve) => setTimeout(resolve, workMs * Math.random() * 2))
            if (--busy === 0) this.#busy--
            this.#done.add(id)
          },
        )
        this.#members.set(subscription, bus)
      }),
    )
  }

  /** Two members, and three times one more that comes and one that goes, after so long of nothing. */
  async comeAndGo(calmMs: number): Promise<void> {
    await this.join(2)
    await this.start()
    for (let round = 0; round < 3; round++) {
      await this.calm(calmMs)
      await this.join()
      await this.recovered()
      await this.leave()
      await this.recovered()
    }
  }

  /** One of the members goes in order. */
  async leave(): Promise<void> {
    const [subscription, bus] = [...this.#members][0]!
    this.#members.delete(subscription)
    await bus.close()
  }

  async start(): Promise<void> {
    this.#publisher = await this.harness.bus()
    this.#timer = setInterval(() => this.#send(), everyMs)
  }

  #send(): void {
    const n = this.#sent++
    const to = typeof this.#topic === 'string' ? this.#topic : this.#topic.with({ n: `n${n % 3}` })
    const sent = this.harness
      .publish(this.#publisher!, to, { n }, { key: `k${n % (this.#options.keys ?? 12)}` })
      .finally(() => this.#flying.delete(sent))
    this.#flying.add(sent)
  }

  /** For so long as nothing happens; the gaps before it are forgotten. */
  async calm(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms))
    this.longestGapMs = 0
    this.#lastAt = performance.now()
  }

  /** Resolves once a message that is sent after now is handled: the way is whole again. */
  async recovered(): Promise<number> {
    const begun = performance.now()
    const n = this.#sent
    const { history } = this.harness
    const done = (): boolean => {
      const sent = history.entries.filter((entry) => entry.kind === 'invoke')[n + 20]
      return sent !== undefined && this.#done.has((sent as { id: string }).id)
    }
    await this.harness.until('messages come again', done, 6)
    return Math.round(performance.now() - begun)
  }

  /** No more messages; waits until all is handled, and judges. */
  async judge(): Promise<{ confirmed: number; unknown: number; failed: number; repeats: number }> {
    clearInterval(this.#timer)
    const { history } = this.harness
    await Promise.all(this.#flying)
    await this.harness.until('every confirmed message is handled', () => nothingLost(history, [group]).length === 0, 4).catch(() => {})
    const stored = this.#publisher!.status().capabilities.history ? await this.#stored() : []
    if (this.#options.resends !== true && new Set(stored).size !== stored.length)
      this.#violations.push({ rule: 'R2', text: 'an id is stored twice' })
    await this.harness.until('nothing is left', async () => (await this.#publisher!.admin.lag(this.storage, group)) === 0, 2)
    report([
      ...this.#violations,
      ...nothingLost(history, [group]),
      ...nothingChanged(history),
      ...inOrder(history, [group]),
      ...oneAtATime(history),
    ])
    return { confirmed: history.count('ok'), unknown: history.count('unknown'), failed: history.count('fail'), repeats: this.repeats }
  }

  async #stored(): Promise<string[]> {
    const ids: string[] = []
    for (let from = 'start'; ; ) {
      const { messages, next } = await this.#publisher!.admin.browse(this.storage, { from, limit: 1000 })
      if (messages.length === 0) return ids
      ids.push(...messages.map(({ id }) => id))
      from = next
    }
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await this.harness.end()
  }
}
