import { type Bus, type ConnectOptions, connectEngine } from '../bus.ts'
import type { BatchHandler } from '../deliver/handler.ts'
import type { DeliveryContext, Message } from '../deliver/message.ts'
import type { SubscribeOptions } from '../deliver/options.ts'
import type { Subscription } from '../deliver/subscription.ts'
import type { Engine, PublishOutcome } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { newId } from '../message/id.ts'
import type { PublishTopic, ReadTopic } from '../topic/resolve.ts'
import { digest, digestOf, History } from './history.ts'
import { outgoing, Seat, type SeatOptions } from './seat.ts'

/** What is under test: how to connect to one broker, again and again. */
export interface Subject {
  readonly name: string
  /** A new connection, as another process would have. */
  open(): Promise<Engine>
  /** Shared by all connections; needed for engines without a ledger of their own. */
  readonly ledger?: Ledger
  /** Stops the broker and starts it again, keeping its data; absent where it cannot be. */
  restart?(): Promise<void>
  /** Ends a connection without any goodbye; absent where it cannot be. */
  crash?(engine: Engine): Promise<void>
  /**
   * Puts bytes under a name as a producer would that knows nothing of us, past the engine. Absent: the engine is handed
   * a message without a header or an envelope of ours, which is as near as one comes without a client of the broker.
   */
  foreign?(storage: string, name: string, bytes: Uint8Array): Promise<void>
  /** How long a case waits for what must come, ms; a slow broker needs more. Default 8000. */
  readonly patienceMs?: number
}

/** Fast policies: the rules are the same at any speed. */
const quick: SubscribeOptions = { retry: { attempts: 4, initial: 20, factor: 2, max: 100 }, lease: '2s', breaker: false }

/** One case's world: buses on the subject, one history, and everything closed at the end. */
export class Harness {
  readonly history = new History()
  readonly subject: Subject
  /** A name no other case has. */
  readonly topic: string
  readonly #buses: Bus[] = []
  readonly #engines = new Map<Bus, Engine>()
  readonly #bare = new Set<Engine>()
  readonly #seats = new Set<Seat>()

  constructor(subject: Subject, name: string) {
    this.subject = subject
    this.topic = `t.${name.replace(/[^A-Za-z0-9]+/g, '-').slice(0, 60)}.${newId().slice(-12)}`
  }

  async bus(options: ConnectOptions = {}, change: (engine: Engine) => Engine = (engine) => engine): Promise<Bus> {
    const engine = change(await this.subject.open())
    const bus = await connectEngine(engine, {
      ...(this.subject.ledger ? { ledger: this.subject.ledger } : {}),
      drain: 2000,
      ...options,
      defaults: { ...quick, ...options.defaults },
    })
    this.#buses.push(bus)
    this.#engines.set(bus, engine)
    return bus
  }

  engineOf(bus: Bus): Engine {
    return this.#engines.get(bus)!
  }

  /** A connection without a bus over it: what the contract asks of the engine alone. */
  async engine(): Promise<Engine> {
    const engine = await this.subject.open()
    this.#bare.add(engine)
    return engine
  }

  /** Joins a group by hand. */
  async seat(engine: Engine, options: SeatOptions = {}, storage = this.topic): Promise<Seat> {
    const seat = await Seat.take(engine, storage, options)
    this.#seats.add(seat)
    return seat
  }

  /** Publishes texts through the engine, in one batch; throws when one of them is refused. */
  async send(engine: Engine, texts: readonly string[], changes: Parameters<typeof outgoing>[2] = {}): Promise<PublishOutcome[]> {
    const outcomes = await engine.publish(texts.map((text) => outgoing(this.topic, text, changes)))
    for (const outcome of outcomes) if (!outcome.ok) throw outcome.error
    return outcomes
  }

  async foreign(engine: Engine, name: string, text: string, storage = name): Promise<void> {
    if (this.subject.foreign) return this.subject.foreign(storage, name, Buffer.from(text))
    const [outcome] = await engine.publish([outgoing(storage, text, { name })])
    if (!outcome!.ok) throw outcome!.error
  }

  /** Publishes and writes it into the history. */
  async publish(
    bus: Bus,
    topic: PublishTopic,
    body: unknown,
    options: { key?: string; id?: string; headers?: Record<string, string>; deliverAt?: number } = {},
  ): Promise<string> {
    const id = options.id ?? newId()
    const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body))
    this.history.add({
      kind: 'invoke',
      id,
      key: options.key,
      topic: typeof topic === 'string' ? topic : '',
      digest: digest(options.headers ?? {}, bytes),
      notBefore: options.deliverAt,
    })
    try {
      const receipt = await bus.publish(topic as string, body, { ...options, id })
      this.history.add({ kind: 'ok', id, duplicate: receipt.duplicate })
    } catch (error) {
      this.history.add({
        kind: error instanceof BusError && error.code === 'publish_unknown' ? 'unknown' : 'fail',
        id,
        error: String(error),
      })
    }
    return id
  }

  /** Subscribes with a handler whose runs go into the history. */
  subscribe(
    bus: Bus,
    topic: ReadTopic,
    options: SubscribeOptions & { group: string },
    handler: (message: Message, delivery: DeliveryContext) => unknown = () => {},
    member = `m${Math.random().toString(36).slice(2, 6)}`,
  ): Promise<Subscription> {
    const { group } = options
    return bus.subscribe(topic, options, async (message: Message, delivery: DeliveryContext) => {
      this.history.add({
        kind: 'deliver',
        id: message.id,
        key: message.key,
        group,
        member,
        attempt: delivery.attempt,
        at: Date.now(),
        digest: digestOf(message),
      })
      try {
        await handler(message, delivery)
        this.history.add({ kind: 'settle', id: message.id, group, member, how: delivery.signal.aborted ? 'aborted' : 'ack' })
      } catch (error) {
        this.history.add({ kind: 'settle', id: message.id, group, member, how: delivery.signal.aborted ? 'aborted' : 'fail' })
        throw error
      }
    })
  }

  subscribeBatch(
    bus: Bus,
    topic: ReadTopic,
    options: SubscribeOptions & { group: string; batch: { size: number; wait?: number } },
    handler: BatchHandler,
  ): Promise<Subscription> {
    return bus.subscribe(topic, options, handler)
  }

  /** Waits until the condition holds; throws with `what` when it does not in `times` the subject's patience. */
  async until(what: string, condition: () => boolean | Promise<boolean>, times = 1): Promise<void> {
    const timeoutMs = times * (this.subject.patienceMs ?? 8000)
    const deadline = Date.now() + timeoutMs
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** Long enough for something wrong to happen. */
  quiet(ms = 150): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms))
  }

  async end(): Promise<void> {
    await Promise.allSettled([...this.#seats].map((seat) => seat.close()))
    await Promise.allSettled([...this.#buses, ...this.#bare].map((one) => one.close()))
  }
}
