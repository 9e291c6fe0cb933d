import { setImmediate } from 'node:timers/promises'
import { type errors, nanos } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import { longestTimerMs } from '../../message/duration.ts'
import { isPrivate } from '../../topic/name.ts'
import type { DeliverySink, EngineSubscription, Settlement, SettleResult, Source, SubscriptionSpec } from '../engine.ts'
import { Hand } from '../hand.ts'
import type { Durable } from './consumers.ts'
import type { NatsDelivery } from './delivery.ts'
import { mayNotAcknowledge, natsError } from './failure.ts'
import { frameOf } from './frames.ts'
import { Lane, type LaneParts } from './lane.ts'
import { Leaving } from './leaving.ts'
import { replayStream } from './names.ts'

const ack = '+ACK'
const working = '+WPI'
const nak = '-NAK'
/** So many that wait for their time are held here, as many as the core holds by default. */
const mostWaiting = 1000
const replaysEveryMs = 15_000
const firstKeepMs = 1000
const lastKeepMs = 10_000
/** So many consumers are looked at together. */
const mostAskedAfter = 8

export interface SubscriptionParts
  extends Omit<LaneParts, 'deliver' | 'room' | 'adopt' | 'forsake' | 'assigned' | 'revoked' | 'stands' | 'empty' | 'drain'> {
  readonly onClose: () => void
}

/**
 * A member of a group: what its lanes bring goes to the core as far as there is credit; the rest waits here, kept alive.
 * What is owned is given back to the server only when its part leaves, all at once and in order: the server gives out
 * again in the order in which it was told.
 */
export class NatsSubscription implements EngineSubscription {
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #lanes = new Map<string, Lane>()
  readonly #hand = new Hand<NatsDelivery>()
  /** Come, and not handed on: for want of credit, or before its time. */
  #buffer: NatsDelivery[] = []
  /** Deliveries in the buffer that were given back for a while. */
  #delayed = 0
  /** Scopes that somebody else shall have. */
  readonly #leaving = new Map<string, Leaving>()
  /** How often the server refused to hear of a delivery. */
  #denials = 0
  /** Settled, in a batch of which something was refused: all of that batch is handed in once more. */
  readonly #through = new WeakSet<NatsDelivery>()
  readonly #stopListening: () => void
  #messages = 0
  #bytes = 0
  #out = 0
  #scheduled = false
  #timer: NodeJS.Timeout | undefined
  readonly #keepAlive: NodeJS.Timeout
  readonly #replaysTimer: NodeJS.Timeout
  /** The last replay of all that is known. */
  #lastReplay = 0
  /** So long it keeps what cannot begin; longer while nobody else waits for it. */
  #keepMs = firstKeepMs
  #sharing = false
  #stopped: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(parts: SubscriptionParts, spec: SubscriptionSpec, sink: DeliverySink) {
    this.#parts = parts
    this.#spec = spec
    this.#sink = sink
    this.#keepAlive = setInterval(this.#look, Math.max(20, Math.min(250, spec.leaseMs / 6)))
    this.#keepAlive.unref()
    // Not all members of a service at the same moment.
    this.#replaysTimer = setInterval(() => void this.#lookForReplays(), replaysEveryMs * (0.8 + Math.random() * 0.4))
    this.#replaysTimer.unref()
    this.#stopListening = parts.connection.listen({ denied: (error) => this.#deny(error) })
  }

  async start(): Promise<void> {
    // Public storages first: those of replays follow the way their topic is shared.
    const sources = [...this.#spec.sources].sort((a, b) => Number(isPrivate(a.storage)) - Number(isPrivate(b.storage)))
    for (const source of sources) await this.add(source)
  }

  /** A topic that could not be joined leaves nothing behind: it may be tried again. */
  async add(source: Source): Promise<void> {
    const known = this.#lanes.get(source.lanes)
    const lane = known ?? this.#lane(source.lanes)
    try {
      await lane.add(source)
    } catch (error) {
      if (!known) {
        this.#lanes.delete(source.lanes)
        await lane.close().catch(() => {})
      }
      throw natsError(error, `group '${this.#spec.group}' of topic '${source.storage}'`)
    }
    this.#refill()
  }

  #lane(name: string): Lane {
    const parts = {
      ...this.#parts,
      deliver: this.#arrived,
      room: this.#room,
      adopt: this.#adopt,
      forsake: this.#forsake,
      assigned: (scope: string, epoch: number) => this.#sink.assigned(scope, epoch),
      revoked: (scope: string, epoch: number) => this.#revoked(scope, epoch),
      stands: (scope: string) => this.#stands(scope),
      empty: (scope: string) => this.#empty(scope),
      drain: (scope: string) => this.#drain(scope),
    }
    const lane = new Lane(parts, this.#spec)
    this.#lanes.set(name, lane)
    return lane
  }

  // ── from the server to the core ───────────────────────────────────────────────────────────────────────────────────

  #arrived = (delivery: NatsDelivery): void => {
    if (this.#stopped && delivery.scope === undefined) {
      // It was under way when we stopped: at once to somebody else, not after its lease.
      this.#parts.connection.nc.publish(delivery.reply, nak)
      return
    }
    // It lay in the socket while this process stood still, and is somebody else's by now.
    if (delivery.held?.() === false) {
      this.#renew(delivery.scope!)
      return
    }
    this.#hand.add(delivery)
    this.#buffer.push(delivery)
    if (this.#scheduled) return
    this.#scheduled = true
    // Once for all that came in one read of the socket.
    queueMicrotask(this.#takeIn)
  }

  #takeIn = (): void => {
    this.#scheduled = false
    this.#handOn()
    // Each reader asks for its part of what is wanted: where all comes to one of them it goes on asking.
    this.#refill()
  }

  #adopt = ({ stream, name }: Durable, sequence: number, reply: string): boolean => {
    const known = this.#hand.find((delivery) => delivery.sequence === sequence && delivery.durable === name && delivery.stream === stream)
    if (!known) return false
    known.reply = reply
    known.until = performance.now() + known.ackWaitMs
    known.sureUntil = known.until
    return true
  }

  #forsake = ({ stream, name }: Durable, scope: string | undefined): void => {
    if (scope !== undefined) this.#renew(scope)
    else
      this.#lose(
        this.#hand.all().filter((delivery) => delivery.durable === name && delivery.stream === stream),
        'its stream was deleted',
      )
  }

  #handOn = (): void => {
    if (this.#stopped || this.#buffer.length === 0) return
    const batch: NatsDelivery[] = []
    const rest: NatsDelivery[] = []
    const now = performance.now()
    // Lanes with something that waits for its time: nothing later of them may pass it.
    const blocked = this.#delayed > 0 ? new Set<string>() : undefined
    for (const delivery of this.#buffer) {
      const full = this.#messages <= 0 || (this.#bytes <= 0 && this.#out > 0)
      if (full || (blocked && this.#waits(delivery, now, blocked)) || this.#stands(delivery.scope)) {
        rest.push(delivery)
        continue
      }
      if (delivery.notBefore > 0) {
        delivery.notBefore = 0
        this.#delayed--
      }
      this.#messages--
      this.#bytes -= delivery.body.byteLength
      this.#out++
      batch.push(delivery)
    }
    this.#buffer = rest
    if (rest.some(({ notBefore }) => notBefore > now)) this.#arm()
    if (batch.length > 0) this.#sink.deliver(batch)
  }

  #waits(delivery: NatsDelivery, now: number, blocked: Set<string>): boolean {
    if (delivery.scope === undefined) return false
    const lane = this.#spec.order === 'topic' ? delivery.scope : `${delivery.scope}/${delivery.key}`
    if (this.#spec.order === 'key' && delivery.key === undefined) return delivery.notBefore > now
    if (delivery.notBefore > now) blocked.add(lane)
    return blocked.has(lane)
  }

  grant(messages: number, bytes: number): void {
    if (this.#stopped) return
    this.#messages += messages
    this.#bytes += bytes
    this.#handOn()
    this.#refill()
  }

  /** Each reader's part of what the core granted and has not had. */
  #room = (): number => {
    let bytes = this.#bytes
    for (const { body } of this.#buffer) bytes -= body.byteLength
    let readers = 0
    for (const lane of this.#lanes.values()) readers += lane.readers
    return Math.ceil(bytes / Math.max(1, readers))
  }

  /** More is asked for where something may begin at once; what is in the buffer and may not is no reason to ask for less. */
  #refill(): void {
    if (this.#messages <= 0 || this.#bytes <= 0 || this.#stopped) return
    const { startable, waiting } = this.#sorted()
    const wanted = this.#messages - startable
    if (wanted > 0 && waiting < mostWaiting) for (const lane of this.#lanes.values()) lane.want(wanted)
  }

  /** What of the buffer waits for credit only, and what for its time or behind something that does. */
  #sorted(): { startable: number; waiting: number } {
    if (this.#delayed === 0 && this.#leaving.size === 0) return { startable: this.#buffer.length, waiting: 0 }
    const now = performance.now()
    const blocked = new Set<string>()
    let startable = 0
    let waiting = 0
    for (const delivery of this.#buffer) {
      if (this.#stands(delivery.scope)) continue
      if (this.#waits(delivery, now, blocked)) waiting++
      else startable++
    }
    return { startable, waiting }
  }

  /** A replay is told of by a message of core NATS, which may get lost. One request for all lanes. */
  async #lookForReplays(): Promise<void> {
    if (!this.#parts.connection.connected) return
    const last = await this.#parts.consumers.stream(replayStream).then(
      (state) => state.last,
      () => this.#lastReplay,
    )
    if (last === this.#lastReplay) return
    this.#lastReplay = last
    for (const lane of this.#lanes.values()) lane.lookForReplays()
  }

  get trouble(): string | undefined {
    for (const { trouble } of this.#lanes.values()) if (trouble !== undefined) return trouble
    return undefined
  }

  // ── from the core to the server ───────────────────────────────────────────────────────────────────────────────────

  async settle(batch: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const { connection } = this.#parts
    connection.mustBeConnected()
    const now = performance.now()
    const denials = this.#denials
    const results = new Array<SettleResult>(batch.length)
    let frames = ''
    for (let i = 0; i < batch.length; i++) {
      const settlement = batch[i]!
      const delivery = settlement.delivery as NatsDelivery
      if (!this.#hand.has(delivery) || delivery.until <= now || delivery.held?.() === false) {
        results[i] = this.#through.has(delivery) ? 'confirmed' : 'lost'
        if (this.#hand.has(delivery) && delivery.scope !== undefined) this.#renew(delivery.scope)
        continue
      }
      results[i] = 'confirmed'
      delivery.denied = false
      if (settlement.kind === 'extend') {
        delivery.wanted = now + settlement.leaseMs
        frames += extension(delivery, now)
      } else if (settlement.kind === 'ack') frames += frameOf(delivery.reply, ack)
      else if (delivery.scope === undefined) frames += frameOf(delivery.reply, nakAfter(settlement.delayMs))
      else this.#takeBack(delivery, now + settlement.delayMs)
    }
    if (frames !== '') {
      connection.frames.addAll(frames)
      connection.frames.send()
      // The server answers once it has read all of them: what is only in a buffer is lost with a connection.
      await this.#flush()
    }
    const refused = this.#denials === denials ? undefined : this.#refusal(batch, results)
    for (let i = 0; i < batch.length; i++) {
      const { kind } = batch[i]!
      const delivery = batch[i]!.delivery as NatsDelivery
      if ((kind !== 'extend' || results[i] === 'lost') && !delivery.denied) this.#forget(delivery)
    }
    this.#refill()
    if (refused) throw refused
    return results
  }

  /** Told by the server on the side. What was refused was not extended either. */
  #deny({ operation, subject }: InstanceType<typeof errors.PermissionViolationError>): void {
    if (operation !== 'publish' || !subject.startsWith('$JS.ACK.')) return
    const delivery = this.#hand.find(({ reply }) => reply === subject)
    if (!delivery) return
    delivery.denied = true
    delivery.until = delivery.sureUntil
    this.#denials++
  }

  #refusal(batch: readonly Settlement[], results: readonly SettleResult[]): BusError | undefined {
    const denied = batch.find(({ delivery }) => (delivery as NatsDelivery).denied)
    if (!denied) return undefined
    for (let i = 0; i < batch.length; i++) {
      const delivery = batch[i]!.delivery as NatsDelivery
      if (!delivery.denied && batch[i]!.kind !== 'extend' && results[i] === 'confirmed') this.#through.add(delivery)
    }
    return mayNotAcknowledge(this.#spec.group, (denied.delivery as NatsDelivery).reply)
  }

  async #flush(): Promise<void> {
    try {
      await this.#parts.connection.nc.flush()
      // What it refused it has said before that; the client tells us a moment later.
      await setImmediate()
    } catch (error) {
      throw new BusError('engine_unavailable', natsError(error, 'settling').message, { cause: error })
    }
  }

  /** Given back while the part is ours: it waits here, before what came after it. */
  #takeBack(delivery: NatsDelivery, notBefore: number): void {
    const again = delivery.again(notBefore)
    this.#hand.delete(delivery)
    this.#out--
    this.#hand.add(again)
    this.#delayed++
    this.#buffer.push(again)
    this.#buffer.sort((a, b) => a.sequence - b.sequence)
    this.#tellLeaving()
    this.#arm()
  }

  /** For the next one whose time comes. */
  #arm(): void {
    clearTimeout(this.#timer)
    if (this.#delayed === 0 || this.#stopped) return
    let next = Number.POSITIVE_INFINITY
    for (const { notBefore } of this.#buffer) if (notBefore > 0 && notBefore < next) next = notBefore
    // Too early is no harm: it is set again.
    this.#timer = setTimeout(this.#handOn, Math.min(longestTimerMs, Math.max(0, next - performance.now()) + 1))
  }

  #forget(delivery: NatsDelivery): void {
    if (!this.#hand.delete(delivery)) return
    this.#out--
    this.#tellLeaving()
  }

  // ── leases ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps alive what waits here, and what the core wants for longer than the server gives at once; tells what ran out. */
  #look = (): void => {
    const now = performance.now()
    const waits = new Set(this.#buffer)
    const lost: NatsDelivery[] = []
    const scopes = new Set<string>()
    const { connection } = this.#parts
    let frames = ''
    for (const leaving of this.#leaving.values()) leaving.tellAgain()
    for (const delivery of this.#hand.all()) {
      if (delivery.until <= now) {
        if (delivery.scope === undefined) lost.push(delivery)
        else scopes.add(delivery.scope)
      } else if ((waits.has(delivery) || delivery.wanted > delivery.until) && delivery.until - now < (delivery.ackWaitMs * 2) / 3) {
        if (connection.connected) frames += extension(delivery, now)
      }
    }
    connection.frames.addAll(frames)
    connection.frames.send()
    // The server gives it out again after what is later: only a new beginning keeps the order.
    for (const scope of scopes) this.#renew(scope)
    this.#lose(lost, 'its lease ran out and another member may have it')
    if (!this.#sharing && !this.#stopped && connection.connected) void this.#share(now)
  }

  /**
   * Each lane brings some for one free place. What could not begin for a while goes back where somebody else waits for it:
   * what is behind a job of minutes here, an idle member does at once.
   */
  async #share(now: number): Promise<void> {
    const surplus = new Map<string, NatsDelivery[]>()
    for (const delivery of this.#buffer) {
      if (delivery.scope !== undefined || now - delivery.since < this.#keepMs) continue
      const consumer = `${delivery.stream}/${delivery.durable}`
      const some = surplus.get(consumer)
      if (some) some.push(delivery)
      else if (surplus.size < mostAskedAfter) surplus.set(consumer, [delivery])
    }
    if (surplus.size === 0) return
    this.#sharing = true
    let given = false
    await Promise.all(
      [...surplus.values()].map(async (some) => {
        const info = await this.#parts.consumers.find(some[0]!.stream, some[0]!.durable).catch(() => undefined)
        for (const delivery of some) delivery.since = now
        if (!info || info.num_waiting === 0) return
        given = true
        const waits = new Set(this.#buffer)
        await this.#giveBack(some.filter((delivery) => waits.has(delivery)))
      }),
    )
    this.#keepMs = given ? firstKeepMs : Math.min(lastKeepMs, 2 * this.#keepMs)
    this.#sharing = false
  }

  #renew(scope: string): void {
    for (const lane of this.#lanes.values()) lane.renew(scope)
  }

  #lose(lost: readonly NatsDelivery[], why: string): void {
    if (lost.length === 0) return
    const waits = new Set(this.#buffer)
    this.#drop(lost)
    const told = lost.filter((delivery) => !waits.has(delivery))
    if (told.length > 0) this.#sink.lost(told, why)
  }

  #revoked(scope: string, epoch: number): void {
    this.#leaving.get(scope)?.end()
    this.#leaving.delete(scope)
    this.#drop(this.#hand.all().filter((delivery) => delivery.scope === scope))
    this.#sink.revoked(scope, epoch)
  }

  /** Not ours any more. */
  #drop(gone: readonly NatsDelivery[]): void {
    const waiting = new Set(this.#buffer)
    for (const delivery of gone) {
      // What the core never had, or has given back, is not out.
      if (waiting.delete(delivery)) {
        this.#out++
        if (delivery.notBefore > 0) this.#delayed--
      }
      this.#forget(delivery)
    }
    this.#buffer = this.#buffer.filter((delivery) => waiting.has(delivery))
  }

  // ── parts that leave ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Resolves once the core has nothing of the scope, and gets nothing of it any more. */
  async #empty(scope: string): Promise<void> {
    if (this.#closed) return
    const leaving = new Leaving({
      tell: () => this.#sink.leaving(scope),
      withCore: () => this.#withCore(scope),
      resume: () => {
        this.#handOn()
        this.#refill()
      },
    })
    this.#leaving.set(scope, leaving)
    await leaving.untilEmpty()
  }

  #stands(scope: string | undefined): boolean {
    return scope !== undefined && this.#leaving.get(scope)?.still === true
  }

  /** Resolves once the server has again what is left of the scope. */
  async #drain(scope: string): Promise<void> {
    await this.#giveBack(this.#hand.all().filter((delivery) => delivery.scope === scope))
    this.#leaving.delete(scope)
  }

  #withCore(scope: string): NatsDelivery[] {
    const waiting = new Set(this.#buffer)
    return this.#hand.all().filter((delivery) => delivery.scope === scope && !waiting.has(delivery))
  }

  #tellLeaving(): void {
    if (this.#leaving.size === 0) return
    for (const leaving of this.#leaving.values()) leaving.look()
  }

  /** In order, and seen through: whoever owns the part next must find all of it given back. */
  async #giveBack(deliveries: readonly NatsDelivery[]): Promise<void> {
    const { connection } = this.#parts
    const byConsumer = new Map<string, NatsDelivery[]>()
    for (const delivery of deliveries) {
      const consumer = `${delivery.scope}/${delivery.storage}`
      byConsumer.set(consumer, [...(byConsumer.get(consumer) ?? []), delivery])
    }
    const processed: Promise<unknown>[] = []
    if (connection.connected) {
      for (const list of byConsumer.values()) {
        list.sort((a, b) => a.sequence - b.sequence)
        for (const delivery of list.slice(0, -1)) connection.nc.publish(delivery.reply, nak)
        processed.push(connection.nc.request(list.at(-1)!.reply, nak, { timeout: 2000 }).catch(() => {}))
      }
    }
    this.#drop(deliveries)
    await Promise.all(processed)
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#timer)
    clearInterval(this.#replaysTimer)
    await Promise.all([...this.#lanes.values()].map((lane) => lane.stop()))
    await this.#giveBack(this.#buffer.filter((delivery) => delivery.scope === undefined))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.stop()
    clearInterval(this.#keepAlive)
    this.#stopListening()
    await this.#giveBack(this.#hand.all().filter(({ scope }) => scope === undefined))
    // What is owned goes back part by part, whoever still works on it.
    for (const leaving of this.#leaving.values()) leaving.end()
    await Promise.all([...this.#lanes.values()].map((lane) => lane.close()))
    this.#parts.onClose()
  }
}

function nakAfter(delayMs: number): string {
  return delayMs <= 0 ? nak : `${nak} {"delay":${nanos(Math.ceil(delayMs))}}`
}

/** What asks the server for more time; from now on the delivery counts as having it. */
function extension(delivery: NatsDelivery, now: number): string {
  delivery.sureUntil = delivery.until
  delivery.until = now + delivery.ackWaitMs
  return frameOf(delivery.reply, working)
}
