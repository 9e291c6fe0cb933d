import type { Delivery, DeliverySink, Engine, EngineSubscription, Settlement, SettleResult, Source } from '../engines/engine.ts'
import { Hand } from '../engines/hand.ts'
import { BusError } from '../errors.ts'
import { newAttempts } from '../ledger/attempts.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { wire } from '../message/wire.ts'
import type { Events } from '../observe/events.ts'
import type { AnyDefinition } from '../topic/definition.ts'
import { matcher } from '../topic/pattern.ts'
import { lastCallMs, within } from '../within.ts'
import { backoffMs } from './backoff.ts'
import { Breaker } from './breaker.ts'
import { Credit } from './credit.ts'
import { decode, open, Undecodable } from './intake.ts'
import type { Job } from './job.ts'
import type { Policy } from './options.ts'
import { errorText, Reject, Retry } from './outcome.ts'
import { Queue } from './queue.ts'
import { Records } from './records.ts'
import type { Runner } from './runner.ts'
import { Settler } from './settler.ts'

/** How long a drain waits past its deadline for the ledger and the engine to hear what became of the last messages. */
const lastWritesMs = 1000

export interface ConsumerParts {
  readonly engine: Engine
  readonly ledger: Ledger
  readonly group: string
  readonly policy: Policy
  readonly definition: AnyDefinition | undefined
  readonly runner: Runner
  readonly events: Events
  /** The member's name in status. */
  readonly member: string
  /** The body behind a claim check, where one is. */
  readonly fetchBlob: (key: string) => Promise<Uint8Array>
}

/**
 * One member of a group: takes deliveries in, runs the handler in lanes, and settles. Everything that the delivery rules
 * promise of a group and an engine does not keep by itself is kept here.
 */
export class Consumer implements DeliverySink {
  readonly #parts: ConsumerParts
  readonly #settler: Settler
  readonly #queue: Queue
  readonly #credit: Credit
  readonly #breaker: Breaker
  readonly #records: Records
  readonly #hand = new Hand<Job>()
  readonly #main = new Map<string, string>()
  /** What the group wants of a storage, where the engine hands out all of it. */
  readonly #filters = new Map<string, (name: string) => boolean>()
  #engine: EngineSubscription | undefined
  /** Not looked up yet. */
  readonly #arrived: Job[] = []
  #intake: Promise<void> | undefined
  #running = 0
  #pumping = false
  /** A message is tried while the breaker is open. */
  #trying = false
  #phase: 'open' | 'draining' | 'closed' = 'open'
  #paused = false
  /** Why nothing of what is handled is acknowledged: until something is, one message at a time is tried. */
  #trouble: string | undefined
  #extendTimer: NodeJS.Timeout | undefined
  #breakerTimer: NodeJS.Timeout | undefined
  #onIdle: (() => void)[] = []
  readonly counts = { handled: 0, failed: 0, deadLettered: 0, lost: 0, released: 0 }

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    const { policy } = parts
    this.#settler = new Settler(this.#settled, this.#refused, this.#delayed)
    this.#queue = new Queue(this.#pump)
    this.#credit = new Credit(policy.concurrency * parts.runner.size, policy.parked, policy.bytes)
    this.#breaker = new Breaker(policy.breaker)
    // Where one death is enough, it counts for what had begun alone.
    const soon = policy.crashes > 1 ? this.#queue.ready : []
    this.#records = new Records(parts.ledger, parts.group, parts.events, parts.engine.capabilities.redelivered, soon)
  }

  async start(sources: readonly Source[]): Promise<void> {
    const { engine, group, policy, member } = this.#parts
    for (const source of sources) this.#remember(source)
    const joined = await engine.subscribe(
      { group, sources, order: policy.order, orderScope: policy.orderScope, leaseMs: policy.leaseMs, member },
      this,
    )
    if (this.#phase !== 'open') {
      await within(lastCallMs, joined.close())
      throw new BusError('closed', 'the subscription was closed before it had joined')
    }
    this.#engine = joined
    this.#settler.attach(this.#engine)
    this.#extendTimer = setInterval(this.#extend, Math.max(20, policy.leaseMs / 6))
    this.#extendTimer.unref()
    this.#refill()
  }

  async add(source: Source): Promise<void> {
    this.#remember(source)
    await this.#engine!.add(source)
  }

  #remember(source: Source): void {
    this.#main.set(source.storage, source.lanes)
    if (source.filter !== undefined && this.#parts.engine.capabilities.filter === 'client')
      this.#filters.set(source.storage, matcher(source.filter))
  }

  pause(paused: boolean): void {
    this.#paused = paused
    if (!paused) this.#pump()
  }

  get status() {
    const jobs = this.#hand.all()
    return {
      group: this.#parts.group,
      member: this.#parts.member,
      state: this.#phase === 'open' ? (this.#paused ? 'paused' : this.#slowed ? 'slowed' : 'running') : this.#phase,
      inHand: jobs.length,
      running: this.#running,
      parked: this.#queue.parked,
      delayed: jobs.filter((job) => job.state === 'delayed').length,
      backpressure: this.#queue.parked >= this.#parts.policy.parked,
      trouble: this.#trouble ?? this.#engine?.trouble,
      ...this.counts,
      progress: jobs.filter((job) => job.progress).map((job) => ({ id: job.id, key: job.key, ...job.progress! })),
    }
  }

  // ── the way in ────────────────────────────────────────────────────────────────────────────────────────────────────

  deliver(batch: readonly Delivery[]): void {
    this.#credit.delivered(batch.length)
    const now = Date.now()
    const headerless = !this.#parts.engine.capabilities.headers
    const jobs: Job[] = []
    let look = false
    for (const delivery of batch) {
      const storage = this.#main.get(delivery.storage) ?? delivery.storage
      const job = open(delivery, storage, headerless, now)
      this.#hand.add(job)
      if (this.#filters.get(delivery.storage)?.(job.name) === false) {
        job.state = 'settling'
        this.#settler.push(job, { kind: 'ack', delivery })
        continue
      }
      jobs.push(job)
      if (this.#records.mayHaveState(job) || this.#keyNeedsBody(job)) look = true
    }
    if (!look && !this.#intake) {
      for (const job of jobs) this.#admit(job)
      this.#pump()
      return
    }
    this.#arrived.push(...jobs)
    this.#intake ??= this.#takeIn()
  }

  /** Order is that of arrival: what comes while some are looked up waits, and is looked up together. */
  async #takeIn(): Promise<void> {
    while (this.#arrived.length > 0) await this.#lookUp(this.#arrived.splice(0))
    this.#intake = undefined
  }

  #keyNeedsBody(job: Job): boolean {
    return job.key === undefined && this.#parts.policy.order === 'key' && this.#parts.definition?.key !== undefined
  }

  async #lookUp(jobs: readonly Job[]): Promise<void> {
    const again = jobs.filter((job) => this.#records.mayHaveState(job))
    // A drain does not wait for a ledger that is away: what could not be looked up is given back as it came.
    while (again.length > 0 && this.#phase === 'open') {
      try {
        await this.#records.read(again)
        break
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    }
    for (const job of jobs) {
      if (this.#keyNeedsBody(job)) {
        try {
          job.message = await decode(job, this.#parts.definition)
        } catch {
          // The runner decodes again and gives the reason; a message without a readable key has no lane.
        }
      }
      // Lost meanwhile, or given back.
      if (job.state === 'queued') this.#admit(job)
    }
    this.#pump()
  }

  #admit(job: Job): void {
    if (this.#phase !== 'open') {
      void this.#release(job)
      return
    }
    this.#queue.enter(job, this.#laneOf(job))
  }

  #laneOf(job: Job): string | undefined {
    const { order } = this.#parts.policy
    const key = job.key ?? job.message?.key
    return order === 'topic' ? job.storage : order === 'key' && key !== undefined ? `${job.storage}/${key}` : undefined
  }

  /** What has come of the lane and is not in it yet, as it is still looked up. */
  #arriving(lane: string): Job[] {
    return this.#hand.all().filter((job) => job.state === 'queued' && job.lane === undefined && this.#laneOf(job) === lane)
  }

  // ── running ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #pump = (): void => {
    // A handler that returns at once frees its place inside this loop: the loop goes on, instead of nesting a thousand deep.
    if (this.#pumping) return
    this.#pumping = true
    const { runner, policy } = this.#parts
    while (this.#queue.ready.length > 0 && this.#phase === 'open' && !this.#paused) {
      if (this.#running >= policy.concurrency) break
      // What was handled comes again while it cannot be acknowledged: nothing more until the server has been asked.
      if (this.#trouble !== undefined && this.#settler.pending > 0) break
      const open = this.#slowed
      // One trial at a time, beside runs that were on when the breaker opened: those may take long.
      if (open && (this.#trying || !this.#trialIsDue())) break
      const jobs = runner.take(this.#queue.ready, this.#pump, open ? 1 : undefined)
      if (!jobs) break
      this.#running++
      if (open) this.#trying = true
      const free = open ? this.#tried : this.#free
      if (jobs.every((job) => this.#records.mayBegin(job))) this.#run(jobs, free)
      else void this.#begin(jobs, free)
    }
    this.#pumping = false
    this.#refill()
  }

  get #slowed(): boolean {
    return this.#breaker.open || this.#trouble !== undefined
  }

  #trialIsDue(): boolean {
    const waitMs = this.#breaker.nextTrialAt - performance.now()
    if (waitMs <= 0) return true
    if (!this.#breakerTimer) {
      this.#breakerTimer = setTimeout(() => {
        this.#breakerTimer = undefined
        this.#pump()
      }, waitMs)
    }
    return false
  }

  /** Jobs that may have failed or been given up before: their start is written down first, so that a death of this process counts. */
  async #begin(jobs: Job[], free: () => void): Promise<void> {
    await this.#records.note(jobs)
    for (const job of jobs) {
      const state = job.attempts
      // Meanwhile a drain may have given some back, or a lease may have been lost: no run of theirs begins.
      if (!state || job.state !== 'queued') continue
      const { attempts, crashes } = this.#parts.policy
      // It was given up already, and its process died before the acknowledgement.
      const spent = state.failures >= attempts && job.headers?.[wire.replays] === undefined
      if (spent || state.crashes >= crashes) {
        jobs = jobs.filter((other) => other !== job)
        job.state = 'writing'
        this.#queue.ended(job)
        void this.#giveUp(job, new Error(spent ? state.error : `the process died ${state.crashes} times while it was handled`))
        continue
      }
      state.started = true
      await this.#records.write(job)
    }
    jobs = jobs.filter((job) => job.state === 'queued')
    if (jobs.length > 0) this.#run(jobs, free)
    else free()
  }

  #run(jobs: readonly Job[], free: () => void): void {
    const now = Date.now()
    for (const job of jobs) {
      job.state = 'running'
      job.begin(now)
    }
    this.#parts.runner.run(jobs, this.#prepare, this.#finished, free)
  }

  /** The message of a job: decoded now, or already, or in a moment. */
  #prepare = (job: Job) => {
    if (job.message) return job.message
    const blob = job.headers?.[wire.blob]
    if (blob === undefined) {
      const message = decode(job, this.#parts.definition)
      if (!(message instanceof Promise)) job.message = message
      return message
    }
    return this.#parts
      .fetchBlob(blob)
      .then((bytes) => decode(Object.assign(Object.create(job), { body: bytes }) as Job, this.#parts.definition))
  }

  #tried = (): void => {
    this.#trying = false
    this.#free()
  }

  #free = (): void => {
    this.#running--
    this.#pump()
    if (this.#running === 0 && this.#onIdle.length > 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  /** A run ended: `error` undefined = acknowledged. A run that was overtaken (timeout, lost lease) is ignored. */
  #finished = (job: Job, run: number, failed: boolean, error: unknown): void => {
    if (job.run !== run || job.state !== 'running') return
    job.state = 'writing'
    this.#queue.ended(job)
    const { events, group } = this.#parts
    if (!failed) {
      this.#breaker.succeeded()
      this.counts.handled++
      if (events.active) events.handled(job, group, Date.now() - job.startedAt)
      this.#acknowledge(job)
      return
    }
    this.counts.failed++
    events.failed(job, group, error)
    if (error instanceof Undecodable || error instanceof Reject) {
      if (error instanceof Reject) this.#breaker.succeeded()
      void this.#giveUp(job, error)
      return
    }
    const now = Date.now()
    const counts = this.#breaker.failed(job.id, performance.now())
    job.attempts ??= newAttempts()
    const state = job.attempts
    state.started = false
    state.error = errorText(error)
    state.firstFailureAt ??= now
    state.lastFailureAt = now
    if (counts) state.failures++
    if (state.failures >= this.#parts.policy.attempts) {
      void this.#giveUp(job, error)
      return
    }
    const afterMs = !counts
      ? Math.max(0, this.#breaker.nextTrialAt - performance.now())
      : error instanceof Retry && error.afterMs !== undefined
        ? error.afterMs
        : backoffMs(this.#parts.policy.backoff, state.failures)
    state.notBefore = now + afterMs
    void this.#retry(job, afterMs)
  }

  async #retry(job: Job, afterMs: number): Promise<void> {
    const begun = performance.now()
    // Written before the retry may start: otherwise a crash meanwhile would forget the attempt.
    await this.#records.write(job)
    if (!this.#records.wants(job)) return
    if (this.#phase !== 'open') void this.#release(job)
    else if (job.lane) this.#queue.delay(job, Math.max(0, afterMs - (performance.now() - begun)))
    else {
      this.counts.released++
      this.#settler.push(job, { kind: 'release', delivery: job.delivery, delayMs: afterMs })
    }
  }

  async #giveUp(job: Job, error: unknown): Promise<void> {
    const { group, policy, events } = this.#parts
    if (policy.deadLetter) await this.#records.bury(job, error)
    if (!this.#records.wants(job)) return
    this.counts.deadLettered++
    events.deadLettered(job, group, error)
    this.#acknowledge(job)
  }

  // ── settling ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #acknowledge(job: Job): void {
    job.state = 'settling'
    this.#settler.push(job, { kind: 'ack', delivery: job.delivery })
    this.#advance(job)
  }

  #advance(job: Job): void {
    // Once draining, what waited in the lane has been given back already.
    if (this.#phase === 'open') this.#queue.leave(job)
  }

  /** Gives them back in this order: nobody may be handed one of a lane before what stands before it. */
  #release(...jobs: readonly Job[]): Promise<void> | undefined {
    // Before somebody else reads it: what was given back did not die.
    const acquitted = this.#records.acquit(jobs)
    const writes: Promise<unknown>[] = acquitted ? [acquitted] : []
    for (const job of jobs) {
      if (job.timer) clearTimeout(job.timer)
      job.timer = undefined
      job.state = 'settling'
      this.counts.released++
      if (!job.attempts?.started) continue
      job.attempts.started = false
      writes.push(this.#records.write(job))
    }
    const giveBack = (): void => {
      for (const job of jobs) this.#settler.push(job, { kind: 'release', delivery: job.delivery, delayMs: 0 })
    }
    if (writes.length > 0) return Promise.all(writes).then(giveBack)
    giveBack()
    return undefined
  }

  /** Gives back what has not begun, and what stands behind it in its lane. Resolves when all of it was. */
  async #giveBack(which: (job: Job) => boolean): Promise<void> {
    const given: (Promise<void> | undefined)[] = []
    for (const job of this.#hand.all()) {
      if (!which(job)) continue
      const first = job.lane ? [job.lane.head, ...job.lane.waiting].find(which)! : job
      given.push(this.#release(first, ...this.#queue.remove(first)))
      this.#queue.ended(first)
      this.#queue.leave(first)
    }
    await Promise.all(given)
  }

  #settled = (jobs: readonly Job[], batch: readonly Settlement[], results: readonly SettleResult[]): void => {
    const troubled = this.#trouble !== undefined
    for (let i = 0; i < jobs.length; i++) {
      const { kind } = batch[i]!
      this.#settledOne(jobs[i]!, kind, results[i]!)
      if (troubled && results[i] !== 'lost' && kind !== 'release' && !this.#settler.refusing) this.#trouble = undefined
    }
    if (troubled) this.#pump()
    else this.#refill()
  }

  #settledOne(job: Job, kind: Settlement['kind'], result: SettleResult): void {
    if (kind === 'extend') {
      job.extending = false
      if (result === 'lost') this.#lose(job, 'its lease ran out and another member has it')
      return
    }
    if (result === 'lost') this.counts.lost++
    // Only now: a death before the acknowledgement was through would have given a message without a past.
    else if (kind === 'ack' && job.attempts && (job.attempts.failures > 0 || job.attempts.started)) this.#records.remove(job)
    this.#forget(job)
  }

  #refused = (error: BusError): void => {
    if (this.#trouble === undefined) this.#parts.events.warn(`group '${this.#parts.group}' cannot acknowledge`, error)
    this.#trouble = error.message
  }

  #delayed = (job: Job, kind: Settlement['kind']): void => {
    if (kind === 'ack') this.#records.handled(job)
  }

  #forget(job: Job): void {
    job.state = 'gone'
    this.#records.forget(job)
    if (this.#hand.delete(job)) this.#credit.finished(job.body.byteLength)
  }

  lost(deliveries: readonly Delivery[], reason: string): void {
    const gone = new Set(deliveries)
    for (const job of this.#hand.all()) if (gone.has(job.delivery)) this.#lose(job, reason)
  }

  assigned(): void {}

  leaving(scope: string): void {
    void this.#giveBack((job) => job.delivery.scope === scope && hasNotBegun(job))
  }

  revoked(scope: string): void {
    for (const job of this.#hand.all()) if (job.delivery.scope === scope) this.#lose(job, `scope ${scope} moved to another member`)
  }

  warned(text: string): void {
    this.#parts.events.warn(`group '${this.#parts.group}': ${text}`, undefined)
  }

  #lose(job: Job, reason: string): void {
    if (job.state === 'gone' || job.state === 'settling') return
    const { state } = job
    if (job.timer) clearTimeout(job.timer)
    job.state = 'gone'
    this.counts.lost++
    if (state === 'running') job.abort(new BusError('aborted', `the delivery was lost: ${reason}`))
    // Whoever has it now finishes it before what stands behind it here: none of that may run first.
    const lane = job.lane?.id
    void this.#release(...this.#queue.remove(job), ...(lane === undefined ? [] : this.#arriving(lane)))
    this.#queue.ended(job)
    this.#forget(job)
    this.#refill()
    this.#advance(job)
  }

  #extend = (): void => {
    const now = Date.now()
    const { leaseMs } = this.#parts.policy
    for (const job of this.#hand.all()) {
      if (job.extending || job.state === 'settling' || job.state === 'gone' || now - job.leasedAt < leaseMs / 3) continue
      job.extending = true
      job.leasedAt = now
      this.#settler.push(job, { kind: 'extend', delivery: job.delivery, leaseMs })
    }
    this.#refill()
  }

  #refill(): void {
    if (this.#phase !== 'open' || this.#paused || !this.#engine) return
    const open = this.#slowed
    const running = (open ? Number(this.#trying) : this.#running) * this.#parts.runner.size
    const { ready, parked } = this.#queue
    // While everything fails, one message to try is all that is needed.
    const grant = this.#credit.next(running, ready.length, parked, this.#settler.pending, performance.now(), open ? 1 : undefined)
    if (grant) this.#engine.grant(grant.messages, grant.bytes)
  }

  // ── the way out of here ───────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Stops the intake, gives back what has not begun, waits for handlers until the deadline, aborts and gives back the rest.
   * What the engine fails in does not keep the rest from being done: it is thrown at the end.
   */
  async close(deadlineMs: number): Promise<void> {
    this.#phase = 'draining'
    const begun = performance.now()
    clearTimeout(this.#breakerTimer)
    this.#parts.runner.close()
    const failures: unknown[] = []
    const fail = (error: unknown): void => void failures.push(error)
    await within(lastCallMs, (this.#engine?.stop() ?? Promise.resolve()).catch(fail))
    // A schema that never answers keeps nobody here; what it has come to by then begins no more.
    await within(lastCallMs, this.#intake ?? Promise.resolve())
    this.#queue.ready.length = 0
    const given: (Promise<void> | undefined)[] = [this.#giveBack(hasNotBegun)]
    await within(deadlineMs, this.#finish())
    for (const job of this.#hand.all()) {
      if (job.state !== 'running') continue
      job.run++
      job.abort(new BusError('aborted', 'the bus is closing and the deadline for handlers has passed'))
      given.push(this.#release(job))
    }
    await within(lastWritesMs, Promise.all([this.#records.idle(), ...given]))
    // A broker that is away gives back by itself what it hears nothing of.
    await within(Math.max(lastWritesMs, deadlineMs - (performance.now() - begun)), this.#settler.idle())
    this.#settler.end()
    clearInterval(this.#extendTimer)
    await within(lastWritesMs, this.#records.leave())
    this.#phase = 'closed'
    this.#records.close()
    await within(lastCallMs, (this.#engine?.close() ?? Promise.resolve()).catch(fail))
    if (failures.length > 0) throw failures[0]
  }

  /** Until no handler runs, and what they left is written. */
  async #finish(): Promise<void> {
    while (this.#running > 0 || this.#records.busy)
      await (this.#running > 0 ? new Promise<void>((resolve) => this.#onIdle.push(resolve)) : this.#records.idle())
  }
}

function hasNotBegun({ state }: Job): boolean {
  return state === 'queued' || state === 'parked' || state === 'delayed'
}
