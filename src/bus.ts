import { Admin } from './admin/admin.ts'
import { connectionOf } from './coze/connection.ts'
import { configFromEnv } from './coze/environment.ts'
import type { BatchHandler, Handler } from './deliver/handler.ts'
import { type LiveHandler, subscribeLive } from './deliver/live.ts'
import { type BatchOptions, makeRunner } from './deliver/make-runner.ts'
import { type Policy, resolvePolicy, type SubscribeOptions } from './deliver/options.ts'
import { GroupSubscription, type Subscription, type SubscriptionStatus } from './deliver/subscription.ts'
import { refuseStored, UnstoredSubscription } from './deliver/unstored.ts'
import type { Capabilities, Engine, EngineHealth, Finding, KvOptions } from './engines/engine.ts'
import { type EngineOptions, examineWay, mergeOptions, openEngine } from './engines/registry.ts'
import { BusError } from './errors.ts'
import { Kv } from './kv/kv.ts'
import { Blobs } from './ledger/blobs.ts'
import type { Ledger } from './ledger/ledger.ts'
import { noLedger } from './ledger/no-ledger.ts'
import { type Duration, toMs } from './message/duration.ts'
import type { Headers } from './message/headers.ts'
import { Events } from './observe/events.ts'
import type { PublishOptions } from './publish/encode.ts'
import { Publisher } from './publish/publisher.ts'
import { type Outcome, PublishPromise, type Receipt } from './publish/receipt.ts'
import { type Answer, ask, askMany, type Request, responder } from './requests/requests.ts'
import type { Address, Selection, TopicDefinition } from './topic/definition.ts'
import { checkGroup, checkName } from './topic/name.ts'
import { type Choice, type PublishTopic, type ReadTopic, resolveChoice } from './topic/resolve.ts'
import { lastCallMs, within } from './within.ts'

export interface ConnectOptions extends EngineOptions {
  /** Set for every subscription that does not say otherwise. */
  readonly defaults?: SubscribeOptions
  readonly publish?: {
    /** Messages unconfirmed at once; more wait. Default 1000. */
    readonly window?: number
    /** Told of a publish that failed and that nobody awaited. Default: a warning on standard error. */
    readonly onError?: (error: BusError) => void
  }
  /** Where dead letters, attempts and pauses are kept for an engine that cannot: a URL (`file:…`) or a ledger. Default: the engine's own, else the embedded store in ./.cozebus. */
  readonly ledger?: string | Ledger
  /** Stores bodies above the engine's limit aside instead of refusing them. Default false. */
  readonly claimCheck?: boolean
  /** How long `close` lets handlers finish. Default `'30s'`. */
  readonly drain?: Duration
}

export interface Health {
  readonly ok: boolean
  readonly engine: string
  readonly detail: string
  /**
   * `refused`: topics of a pattern that a group could not join, each with the reason; they are tried again. `trouble`: why
   * the broker takes no acknowledgements from it, or gives it no messages.
   */
  readonly subscriptions: readonly {
    readonly topic: string
    readonly group: string
    readonly state: string
    readonly refused: readonly string[]
    readonly trouble: string | undefined
  }[]
}

export interface BusStatus {
  readonly engine: string
  readonly capabilities: Capabilities
  /** Whose the ledger is. */
  readonly ledger: string
  readonly unconfirmed: number
  readonly subscriptions: readonly SubscriptionStatus[]
}

type Read<P, Out> = Selection<P, Out> | Address<any, P, Out>
type ParamsOf<T> = T extends TopicDefinition<infer P, any, any> ? P : T extends Read<infer P, any> ? P : Record<string, string>
type BodyOf<T> = T extends TopicDefinition<any, any, infer Out> ? Out : T extends Read<any, infer Out> ? Out : any
type SentOf<T> = T extends Address<infer In, any, any> ? In : T extends TopicDefinition<any, infer In, any> ? In : unknown
/** A definition with parameters is no place to publish to before it has them. For wrappers of `publish`: `<T extends PublishTopic>(topic: T & Complete<T>) => bus.publish<T>(topic, …)`. */
export type Complete<T> = T extends TopicDefinition<infer P, any, any> ? ({} extends P ? T : { readonly 'publish to .with()': P }) : T

/** One connection to one engine. Make it with {@link connect}. */
export class Bus {
  readonly #engine: Engine
  readonly #ledger: Ledger
  readonly #ledgerEngine: Engine | undefined
  readonly #options: ConnectOptions
  readonly #drainMs: number
  readonly #publisher: Publisher
  readonly #window: number
  readonly #events = new Events()
  readonly #subscriptions = new Set<Subscription>()
  readonly #others = new Set<{ close(): Promise<void> }>()
  readonly #buckets = new Set<Kv>()
  readonly #onError: (error: BusError) => void
  #health: EngineHealth = { ok: true, detail: 'connected' }
  #closing: Promise<void> | undefined
  /** Looks into topics, groups and dead letters. */
  readonly admin: Admin

  constructor(engine: Engine, ledger: Ledger, ledgerEngine: Engine | undefined, options: ConnectOptions) {
    const window = options.publish?.window ?? 1000
    if (!Number.isInteger(window) || window < 1)
      throw new BusError('invalid_argument', `publish.window must be a whole number from 1, not ${window}`)
    resolvePolicy({}, options.defaults ?? {}, false)
    this.#drainMs = toMs(options.drain ?? '30s', 'drain')
    this.#engine = engine
    this.#ledger = ledger
    this.#ledgerEngine = ledgerEngine
    this.#options = options
    this.#window = window
    this.#publisher = new Publisher(engine, ledger, window, options.claimCheck ?? false, this.#events)
    this.#onError =
      options.publish?.onError ??
      ((error) =>
        process.emitWarning(`a publish that nobody awaited failed: ${error.message}`, { code: error.code, type: 'CozebusWarning' }))
    this.admin = new Admin(engine, ledger)
    if (engine.capabilities.durability === 'none')
      process.emitWarning('this bus stores nothing: a message that nobody listens to is gone', { code: 'unstored', type: 'CozebusWarning' })
    engine.onHealth((health) => {
      this.#health = health
    })
  }

  /**
   * Resolves once the engine has confirmed, as its durability says; rejects otherwise. Nobody needs to await it: a
   * failure then goes to `publish.onError`.
   * @throws BusError (as a rejection) `invalid_topic`, `invalid_message`, `message_too_large`, `publish_rejected`, `publish_unknown`, `aborted`, `closed`
   */
  publish<T extends PublishTopic>(topic: T & Complete<T>, body: SentOf<T>, options: PublishOptions = {}): PublishPromise {
    let resolve!: (receipt: Receipt) => void
    let reject!: (error: BusError) => void
    const promise = new PublishPromise((resolved, rejected) => {
      resolve = resolved
      reject = rejected
    })
    this.#publisher.send(topic, body, options, (id, target, outcome) => {
      if (outcome.ok) {
        resolve({ id, topic: target.name, position: outcome.position, duplicate: outcome.duplicate })
        return
      }
      promise.guard(outcome.error, this.#onError)
      reject(outcome.error)
    })
    return promise
  }

  /** One outcome a body, in order; a failure of one never hides the others and nothing is thrown half-way. */
  async publishMany<T extends PublishTopic>(
    topic: T & Complete<T>,
    bodies: Iterable<SentOf<T>>,
    options: Omit<PublishOptions, 'id'> & { ids?: readonly string[] } = {},
  ): Promise<Outcome[]> {
    const { ids, ...rest } = options
    const outcomes: Outcome[] = []
    let open = 0
    let freed = (): void => {}
    const send = (i: number, body: SentOf<T>): void => {
      const id = ids?.[i]
      open++
      this.#publisher.send(topic, body, id === undefined ? rest : { ...rest, id }, (sentId, target, outcome) => {
        outcomes[i] = outcome.ok
          ? { ok: true, id: sentId, topic: target.name, position: outcome.position, duplicate: outcome.duplicate }
          : { ok: false, id: sentId, topic: target.name, error: outcome.error }
        open--
        freed()
      })
    }
    const until = async (most: number): Promise<void> => {
      while (open > most)
        await new Promise<void>((resolve) => {
          freed = resolve
        })
    }
    let i = 0
    try {
      // Bodies are taken as the window has room for them: of a million only some thousands are in memory at once.
      for (const body of bodies) {
        send(i++, body)
        if (open >= 2 * this.#window) await until(this.#window)
      }
    } catch (thrown) {
      // The source of the bodies failed; what came before has its outcomes all the same.
      const error = new BusError('invalid_message', 'the bodies ended with an error', { cause: thrown })
      outcomes[i] = { ok: false, id: '', topic: '', error }
    }
    await until(0)
    return outcomes
  }

  /**
   * Joins a group (made where it is missing), or without a group listens live: every process, from now on, at most once.
   * @throws BusError `filter_conflict`, `unsupported`, `invalid_argument`, `invalid_topic`, `closed`
   */
  subscribe<T extends ReadTopic>(topic: T, handler: LiveHandler<BodyOf<T>, ParamsOf<T>>): Promise<Subscription | { close(): Promise<void> }>
  subscribe<T extends ReadTopic>(
    topic: T,
    options: SubscribeOptions & { group: string; batch: BatchOptions },
    handler: BatchHandler<BodyOf<T>, ParamsOf<T>>,
  ): Promise<Subscription>
  subscribe<T extends ReadTopic>(
    topic: T,
    options: SubscribeOptions & { group: string; batch?: undefined },
    handler: Handler<BodyOf<T>, ParamsOf<T>>,
  ): Promise<Subscription>
  async subscribe(
    topic: ReadTopic,
    options: (SubscribeOptions & { group: string; batch?: BatchOptions | undefined }) | LiveHandler,
    handler?: Handler | BatchHandler,
  ): Promise<Subscription | { close(): Promise<void> }> {
    this.#mustBeOpen()
    const choice = resolveChoice(topic)
    if (typeof options === 'function') return this.#keep(await subscribeLive(this.#engine, choice, options as LiveHandler, this.#events))
    checkGroup(options.group)
    if (typeof handler !== 'function')
      throw new BusError('invalid_argument', 'subscribe(topic, { group }, handler): the handler is missing')
    const policy = resolvePolicy(options, this.#options.defaults ?? {}, choice.definition?.key !== undefined)
    if (this.#engine.capabilities.durability === 'none' || choice.definition?.persist === false)
      return this.#subscribeUnstored(choice, options, policy, handler)
    this.#mustKeepOrder(policy.order, policy.orderScope)
    const subscription: GroupSubscription = new GroupSubscription(
      choice,
      {
        engine: this.#engine,
        ledger: this.#ledger,
        group: options.group,
        policy,
        definition: choice.definition,
        runner: makeRunner(handler, options.batch, policy.timeoutMs),
        events: this.#events,
        fetchBlob: (key) => new Blobs(this.#ledger).get(key),
      },
      this.#drainMs,
      () => this.#subscriptions.delete(subscription),
    )
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
      this.#mustBeOpen()
    } catch (error) {
      await subscription.close().catch(() => {})
      this.#subscriptions.delete(subscription)
      throw error
    }
    return subscription
  }

  async #subscribeUnstored(
    choice: Choice,
    options: SubscribeOptions & { group: string; batch?: BatchOptions | undefined },
    policy: Policy,
    handler: Handler | BatchHandler,
  ): Promise<Subscription> {
    refuseStored(options, policy.order)
    if (!this.#engine.live?.publish)
      throw new BusError('unsupported', `the ${this.#engine.name} engine stores all that is published; leave out persist: false`)
    const subscription: UnstoredSubscription = new UnstoredSubscription(
      this.#engine,
      choice,
      options.group,
      policy,
      handler as Handler,
      this.#events,
      this.#drainMs,
      () => this.#subscriptions.delete(subscription),
    )
    this.#subscriptions.add(subscription)
    try {
      await subscription.start()
    } catch (error) {
      this.#subscriptions.delete(subscription)
      throw error
    }
    return subscription
  }

  #mustKeepOrder(order: string, scope: string): void {
    const { ordering } = this.#engine.capabilities
    if (order === 'none' || scope === 'process' || ordering === 'group') return
    throw new BusError(
      'unsupported',
      `the ${this.#engine.name} engine cannot keep order '${order}' across the members of a group; subscribe with orderScope: 'process' (order within each process), run one member, or use order: 'none'`,
    )
  }

  /** @throws BusError `timeout`, `no_responders`, `unsupported`, `aborted` */
  async request<Answer = any>(
    topic: string | Address,
    question: unknown,
    options: { timeout?: Duration; headers?: Headers; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    this.#mustBeOpen()
    const name = typeof topic === 'string' ? topic : topic.name
    checkName(name)
    return (await ask(
      this.#requests(),
      name,
      question,
      toMs(options.timeout ?? '5s', 'timeout'),
      options.headers,
      options.signal,
    )) as Answer
  }

  /**
   * Asks all groups of responders and gives each answer as it comes, until the time is over, `max` have come or the loop is
   * left. Default `timeout` `'1s'`, no `max`.
   * @throws BusError `no_responders`, `unsupported` where the engine gives the first answer only
   */
  async *requestMany<Body = any>(
    topic: string | Address,
    question: unknown,
    options: { timeout?: Duration; max?: number; headers?: Headers; signal?: AbortSignal } = {},
  ): AsyncGenerator<Answer<Body>, void, void> {
    this.#mustBeOpen()
    const name = typeof topic === 'string' ? topic : topic.name
    checkName(name)
    const { max = -1, headers, signal } = options
    if (max !== -1 && !(Number.isInteger(max) && max > 0))
      throw new BusError('invalid_argument', `max must be a whole number from 1, not ${max}`)
    const timeoutMs = toMs(options.timeout ?? '1s', 'timeout')
    yield* askMany(this.#requests(), this.#engine.name, name, question, { timeoutMs, max, headers, signal })
  }

  /** Answers requests with what the handler returns; one member of the group gets each. */
  async respond(topic: ReadTopic, options: { group: string }, handler: (request: Request) => unknown): Promise<{ close(): Promise<void> }> {
    this.#mustBeOpen()
    checkGroup(options.group)
    const choice = resolveChoice(topic)
    return this.#keep(
      await this.#requests().respond(choice.filter ?? choice.storage!, options.group, responder(choice.definition, handler)),
    )
  }

  #requests() {
    if (!this.#engine.requests) throw new BusError('unsupported', `the ${this.#engine.name} engine has no requests`)
    return this.#engine.requests
  }

  /** Opens a bucket, making it where it is missing. @throws BusError `unsupported` */
  async kv<Value = any>(bucket: string, options: { history?: number; ttl?: Duration } = {}): Promise<Kv<Value>> {
    this.#mustBeOpen()
    checkName(bucket)
    if (!this.#engine.kv) throw new BusError('unsupported', `the ${this.#engine.name} engine has no key-value store`)
    const { history, ttl } = options
    if (history !== undefined && !(Number.isInteger(history) && history >= 1 && history <= 64))
      throw new BusError('invalid_argument', `history must be a whole number from 1 to 64, not ${history}`)
    const resolved: KvOptions = { ...(history === undefined ? {} : { history }), ...(ttl === undefined ? {} : { ttlMs: toMs(ttl, 'ttl') }) }
    const kv = new Kv<Value>(await this.#engine.kv.open(bucket, resolved))
    this.#buckets.add(kv)
    return kv
  }

  async health(): Promise<Health> {
    const subscriptions = [...this.#subscriptions].map((subscription) => {
      const { topic, group, state, refused, trouble } = subscription.status()
      return { topic, group, state, refused, trouble }
    })
    const [trouble] = subscriptions.flatMap((subscription) => subscription.trouble ?? subscription.refused)
    return {
      ok: this.#health.ok && !this.#closing && trouble === undefined,
      engine: this.#engine.name,
      detail: this.#closing ? 'closing' : this.#health.ok && trouble !== undefined ? trouble : this.#health.detail,
      subscriptions,
    }
  }

  /** What an operator should know about the broker and what is stored there; empty for an engine that has nothing to say. */
  async diagnose(): Promise<readonly Finding[]> {
    this.#mustBeOpen()
    return (await this.#engine.diagnose?.()) ?? []
  }

  status(): BusStatus {
    return {
      engine: this.#engine.name,
      capabilities: this.#engine.capabilities,
      ledger: this.#ledger.name,
      unconfirmed: this.#publisher.pending,
      subscriptions: [...this.#subscriptions].map((subscription) => subscription.status()),
    }
  }

  /**
   * Drains and closes: handlers finish until the deadline (and may publish until then), publishes are confirmed, the rest
   * is given back. Twice, or at once, is one drain.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close({ deadlineMs: this.#drainMs })))
    await within(Math.max(lastCallMs, this.#drainMs), Promise.allSettled([...this.#others].map((other) => other.close())))
    for (const bucket of this.#buckets) bucket.close()
    await this.#publisher.close()
    try {
      await this.#engine.close()
    } finally {
      await this.#ledgerEngine?.close()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #keep<T extends { close(): Promise<void> }>(handle: T): { close(): Promise<void>; [Symbol.asyncDispose](): Promise<void> } {
    let closing: Promise<void> | undefined
    const kept = {
      close: () => {
        closing ??= handle.close().finally(() => this.#others.delete(kept))
        return closing
      },
      [Symbol.asyncDispose]: () => kept.close(),
    }
    this.#others.add(kept)
    return kept
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new BusError('closed', 'the bus is closed; connect again')
  }
}

/**
 * Connects to the engine of the URL: the argument, else COZEBUS_URL, else that of the NATS context (`nats.context`), else
 * what the variables of Coze Studio name (where COZE_MQ_TYPE is set), else the embedded store in ./.cozebus.
 * @throws BusError `invalid_argument`, `engine_unavailable`, `engine_missing`, `store_…`
 */
export async function connect(url: string | ConnectOptions = {}, options: ConnectOptions = {}): Promise<Bus> {
  if (typeof url !== 'string') {
    const given = process.env.COZEBUS_URL
    const context = url.nats?.context === undefined ? undefined : `nats+context:${url.nats.context}`
    if (given || context || !process.env.COZE_MQ_TYPE) return connect(given || context || 'file:./.cozebus', url)
    const coze = connectionOf(configFromEnv())
    // What is given here stands beside what the variables say.
    return connect(coze.url, { ...coze.options, ...url, ...mergeOptions(coze.options, url) })
  }
  return connectEngine(await openEngine(url, options), options)
}

/** Goes to the broker step by step, name, port, encryption, credentials, and says how far that went; for a bus that cannot be opened. */
export function examine(url: string, options: EngineOptions = {}): Promise<readonly Finding[]> {
  return examineWay(url, options)
}

/** A bus over an engine that was made elsewhere: for engines of one's own and for the conformance suite. The bus closes it. */
export async function connectEngine(engine: Engine, options: ConnectOptions = {}): Promise<Bus> {
  let ledgerEngine: Engine | undefined
  try {
    if (typeof options.ledger === 'object') return new Bus(engine, options.ledger, undefined, options)
    if (engine.capabilities.ledger === 'none') return new Bus(engine, noLedger(engine.name), undefined, options)
    if (options.ledger === undefined && engine.ledger) return new Bus(engine, engine.ledger, undefined, options)
    ledgerEngine = await openEngine(options.ledger ?? 'file:./.cozebus', {})
    if (!ledgerEngine.ledger)
      throw new BusError('invalid_argument', `the ledger '${options.ledger}' is on an engine that keeps none; use file: or a NATS server`)
    return new Bus(engine, ledgerEngine.ledger, ledgerEngine, options)
  } catch (error) {
    await Promise.allSettled([engine.close(), ledgerEngine?.close()])
    throw error
  }
}

export type { Receipt }
