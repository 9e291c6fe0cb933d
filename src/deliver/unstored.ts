import { randomBytes } from 'node:crypto'
import type { Engine, Stored } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import type { Events } from '../observe/events.ts'
import { matcher } from '../topic/pattern.ts'
import type { Choice } from '../topic/resolve.ts'
import type { Handler } from './handler.ts'
import { decode } from './intake.ts'
import type { Job } from './job.ts'
import { openLive } from './live.ts'
import type { Policy, SubscribeOptions } from './options.ts'
import { type Finished, type Prepare, SingleRunner } from './runner.ts'
import type { Subscription, SubscriptionStatus } from './subscription.ts'

/** What waits for a handler at most; what comes past it is skipped, and said. */
const mostWaiting = 1000

/** What only a stored message can be given. @throws BusError `unsupported` */
export function refuseStored(options: SubscribeOptions & { batch?: unknown }, order: Policy['order']): void {
  const asked = (['retry', 'from', 'batch'] as const).filter((name) => options[name] !== undefined)
  if (options.deadLetter === true) asked.push('deadLetter' as never)
  if (order !== 'none') asked.push('order' as never)
  if (asked.length > 0)
    throw new BusError(
      'unsupported',
      `nothing of this topic is stored, so there is no ${asked.join(', ')}: a message is handed over at most once; leave ${asked.length > 1 ? 'them' : 'it'} out${order === 'none' ? '' : " (order: 'none')"}, or use a stored topic`,
    )
}

/**
 * A member of a group that keeps nothing: one of the group gets a message, at most once. A failure is counted and told on
 * the warning channel; nothing is tried again.
 */
export class UnstoredSubscription implements Subscription {
  readonly #engine: Engine
  readonly #choice: Choice
  readonly #group: string
  readonly #policy: Policy
  readonly #runner: SingleRunner
  readonly #events: Events
  readonly #drainMs: number
  readonly #onClose: () => void
  readonly #member = `${process.pid}-${randomBytes(4).toString('hex')}`
  readonly #waiting: Job[] = []
  readonly #running = new Set<Job>()
  readonly #counts = { handled: 0, failed: 0, deadLettered: 0, lost: 0, released: 0 }
  #listening: { close(): Promise<void> } | undefined
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  /** `drainMs`: how long a close that says nothing else lets handlers finish. */
  constructor(
    engine: Engine,
    choice: Choice,
    group: string,
    policy: Policy,
    handler: Handler,
    events: Events,
    drainMs: number,
    onClose: () => void,
  ) {
    this.#drainMs = drainMs
    this.#engine = engine
    this.#choice = choice
    this.#group = group
    this.#policy = policy
    this.#runner = new SingleRunner(handler, policy.timeoutMs)
    this.#events = events
    this.#onClose = onClose
  }

  async start(): Promise<void> {
    const pattern = this.#choice.filter ?? this.#choice.storage!
    const fits = matcher(pattern)
    const take = (batch: readonly Stored[]): void => {
      for (const stored of batch) if (fits(stored.name)) this.#take(openLive(stored, this.#engine))
      this.#pump()
    }
    this.#listening = await this.#engine.live!.subscribe(pattern, take, this.#group)
  }

  #take(job: Job): void {
    if (this.#waiting.length < mostWaiting) {
      this.#waiting.push(job)
      return
    }
    this.#counts.lost++
    this.#events.warn(`group '${this.#group}' skipped a message of '${job.name}': ${mostWaiting} wait for its handlers`, undefined)
  }

  #pump(): void {
    while (this.#waiting.length > 0 && this.#running.size < this.#policy.concurrency) {
      const job = this.#waiting.shift()!
      job.state = 'running'
      job.begin(Date.now())
      this.#running.add(job)
      this.#runner.run([job], this.#prepare, this.#finished, () => {
        this.#running.delete(job)
        this.#pump()
        if (this.#running.size === 0) this.#idle?.()
      })
    }
  }

  #prepare: Prepare = (job) => decode(job, this.#choice.definition)

  #finished: Finished = (job, run, failed, error) => {
    if (job.run !== run || job.state !== 'running') return
    job.state = 'gone'
    if (failed) {
      this.#counts.failed++
      this.#events.failed(job, this.#group, error)
      this.#events.warn(`group '${this.#group}' failed on a message of '${job.name}', which is stored nowhere`, error)
    } else {
      this.#counts.handled++
      if (this.#events.active) this.#events.handled(job, this.#group, Date.now() - job.startedAt)
    }
  }

  status(): SubscriptionStatus {
    return {
      topic: this.#choice.label,
      topics: [this.#choice.filter ?? this.#choice.storage!],
      refused: [],
      group: this.#group,
      member: this.#member,
      state: this.#closing ? 'draining' : 'running',
      inHand: this.#running.size + this.#waiting.length,
      running: this.#running.size,
      parked: 0,
      delayed: 0,
      trouble: undefined,
      backpressure: this.#waiting.length >= mostWaiting,
      ...this.#counts,
      progress: [...this.#running].filter((job) => job.progress).map((job) => ({ id: job.id, key: job.key, ...job.progress! })),
    }
  }

  /** Listens no more, lets handlers take what has come until the deadline, and aborts the rest. */
  close({ deadlineMs = this.#drainMs }: { deadlineMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  async #close(deadlineMs: number): Promise<void> {
    try {
      await this.#listening?.close()
      if (this.#running.size > 0) {
        let timer: NodeJS.Timeout | undefined
        await new Promise<void>((resolve) => {
          this.#idle = resolve
          timer = setTimeout(resolve, deadlineMs)
        })
        clearTimeout(timer)
      }
      // Nobody else has them.
      this.#counts.lost += this.#waiting.splice(0).length
      for (const job of this.#running) job.abort(new BusError('aborted', 'the bus is closing and the deadline for handlers has passed'))
      this.#runner.close()
    } finally {
      this.#onClose()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
