import { createInbox, type Msg, nanos, type Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.ts'
import { subjectTextOf } from './raw.ts'

const expiresMs = 30_000
/** The server says that it lives so often, and is taken for gone after two of them. */
const heartbeatMs = 2_000
const silentMs = 2.2 * heartbeatMs
const watchMs = 500
/** For so long after something went wrong requests are short, and the server says something at the end of each: leaders may move on. */
const unsureMs = 5_000
const probeMs = 1_000
const firstRetryMs = 20
const lastRetryMs = 1_000
/** A request reserves so much at least: few are so small that a message does not fit. */
const leastBytes = 256 * 1024
const encoder = new TextEncoder()

/** What was asked for by one request and has not come. */
interface Request {
  messages: number
  bytes: number
  came: boolean
}

export interface PullerParts {
  readonly connection: Connection
  readonly stream: string
  readonly durable: string
  readonly deliver: (msg: Msg) => void
  /** How many bytes this one may have under way. At 0 nothing more is asked for until `want` is called again. */
  readonly room: () => number
  /** The consumer or its stream is gone. Resolves once it is there again; rejects to be asked again. */
  readonly missing: () => Promise<void>
  /** What was sent may have been lost, and need not be followed by anything that would show it. */
  readonly doubtful?: () => void
  readonly warn: (text: string) => void
}

/**
 * Asks one consumer for messages, as many as are wanted. Our own loop: the client's `consume()` stands still for tens of
 * seconds when the consumer's leader changes, as it does not listen to what the server says then.
 */
export class Puller {
  readonly #parts: PullerParts
  readonly #inbox = createInbox()
  /** Where messages are asked for. */
  readonly #request: string
  readonly #subscription: Subscription
  /** Servers before 2.11 tell nobody whose request went with a leader; all tell of the new one, who may hear it. */
  readonly #elections: Subscription
  readonly #stopListening: () => void
  readonly #watch: NodeJS.Timeout
  /** Wanted, and not asked for. */
  #wanted = 0
  /** Asked for, and not come. */
  #pending = 0
  /** The server fills them one after the other. */
  #requests: Request[] = []
  /** The next message is larger than what was asked for. */
  #large = false
  #meanBytes = 1024
  #heardAt = performance.now()
  #retry: NodeJS.Timeout | undefined
  #retryMs = firstRetryMs
  /** Asked for in doubt: a new leader hears requests before it is ready, and answers none of them. */
  #probe: NodeJS.Timeout | undefined
  #unsureUntil = performance.now() + unsureMs
  #repairing = false
  #stopped = false
  /** Something that was sent may have been lost since this was last set to false. */
  troubled = false
  /** Why nothing comes, and how: until the server answers a request, or what is missing is there again. */
  #trouble: { readonly kind: 'denied' | 'missing'; readonly text: string } | undefined

  constructor(parts: PullerParts) {
    this.#parts = parts
    const { connection } = parts
    this.#request = `$JS.API.CONSUMER.MSG.NEXT.${parts.stream}.${parts.durable}`
    this.#subscription = connection.nc.subscribe(this.#inbox, { callback: this.#take })
    const elected = `$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.${parts.stream}.${parts.durable}`
    this.#elections = connection.nc.subscribe(elected, { callback: this.#elected })
    this.#stopListening = connection.listen({
      lost: () => this.#giveUp(),
      back: () => this.#ask(),
      denied: ({ operation, subject }) => {
        if (operation === 'publish' && subject === this.#request) this.#deny('publish to', subject)
      },
    })
    this.#watch = setInterval(this.#listen, watchMs)
    this.#watch.unref()
  }

  /** So many more than before. */
  want(messages: number): void {
    this.#wanted += messages
    this.#ask()
  }

  /** What was wanted and has not come; nothing is asked for any more. */
  get open(): number {
    return this.#wanted + this.#pending
  }

  #ask(): void {
    if (this.#stopped || this.#repairing || this.#retry || this.#wanted <= 0 || !this.#parts.connection.connected) return
    const { connection } = this.#parts
    const bytes = this.#reservable()
    if (bytes <= 0) return
    // One message comes, whatever its size: a limit below it would bring none.
    const batch = this.#large ? 1 : this.#wanted
    const limit = this.#large ? {} : { max_bytes: bytes }
    this.#large = false
    this.#wanted -= batch
    this.#pending += batch
    this.#requests.push({ messages: batch, bytes, came: false })
    this.#heardAt = performance.now()
    const unsure = this.#heardAt < this.#unsureUntil
    const request = unsure
      ? { batch, ...limit, expires: nanos(probeMs) }
      : { batch, ...limit, expires: nanos(expiresMs), idle_heartbeat: nanos(heartbeatMs) }
    if (unsure) this.#probe ??= setTimeout(this.#unanswered, probeMs * 1.5)
    connection.nc.publish(this.#request, encoder.encode(JSON.stringify(request)), { reply: this.#inbox })
  }

  /** What a request for all that is wanted may bring; 0 = it has to wait, until some of what is under way has come. */
  #reservable(): number {
    const room = this.#parts.room()
    if (this.#pending === 0) return Math.max(0, Math.min(room, this.#estimate()))
    const free = room - this.#requests.reduce((sum, { bytes }) => sum + bytes, 0)
    // Not a request for each message.
    return free >= Math.min(room, this.#estimate()) / 2 ? Math.min(free, this.#estimate()) : 0
  }

  #estimate(): number {
    return Math.max(leastBytes, Math.ceil(2 * this.#meanBytes * this.#wanted))
  }

  #came(bytes: number): void {
    // Larger ones count at once, smaller ones slowly.
    this.#meanBytes += (bytes - this.#meanBytes) / (bytes > this.#meanBytes ? 2 : 32)
    if (this.#pending > 0) this.#pending--
    const request = this.#requests[0]
    if (!request) return
    request.came = true
    request.bytes = Math.max(0, request.bytes - bytes)
    if (--request.messages === 0 || this.#pending === 0) this.#requests.shift()
  }

  // It must not throw: the client would stop reading.
  #take = (failure: Error | null, msg: Msg): void => {
    if (failure) {
      this.#deny('subscribe to', this.#inbox)
      return
    }
    this.#heardAt = performance.now()
    if (this.#trouble?.kind === 'denied') this.#trouble = undefined
    clearTimeout(this.#probe)
    this.#probe = undefined
    if (subjectTextOf(msg) !== this.#inbox) {
      // More may come than was asked for: what was taken for lost after all.
      this.#came(msg.data.byteLength)
      this.#retryMs = firstRetryMs
      this.#parts.deliver(msg)
      if (this.#wanted > 0) this.#ask()
      return
    }
    if (this.#stopped) return
    const { code = 0, description = '' } = msg.headers ?? {}
    if (code === 100) return
    const left = Number(msg.headers?.get('Nats-Pending-Messages') || 0)
    // Told of each request that has a limit in bytes.
    if (code === 409 && left === 0 && /Batch Completed/i.test(description)) return
    if (code === 404 || code === 408 || (code === 409 && left > 0 && /Batch Completed|MaxBytes|Max Bytes/i.test(description))) {
      const request = this.#requests.shift()
      this.#large = request?.came === false && /MaxBytes/i.test(description)
      this.#back(left > 0 ? left : this.#pending)
      this.#ask()
    } else if (code === 409 && /Consumer Deleted|Consumer is push|Stream Deleted/i.test(description)) this.#repair()
    else {
      // A leader changed, a server goes, nobody answers (503), or a limit was met: all that was asked for is void.
      this.#giveUp()
      this.#later(code === 503)
    }
  }

  #back(messages: number): void {
    const void_ = Math.min(messages, this.#pending)
    this.#pending -= void_
    this.#wanted += void_
    if (this.#pending === 0) this.#requests = []
  }

  #unanswered = (): void => {
    this.#probe = undefined
    this.#giveUp()
    this.#ask()
  }

  #giveUp(): void {
    this.troubled = true
    if (this.#pending > 0) this.#parts.doubtful?.()
    this.#unsureUntil = performance.now() + unsureMs
    this.#back(this.#pending)
  }

  /** Asks again in a moment; where nobody answered, sees first whether the consumer is there at all. */
  #later(nobody: boolean): void {
    if (this.#retry || this.#stopped) return
    this.#retry = setTimeout(
      () => {
        this.#retry = undefined
        if (nobody && this.#retryMs > 200) this.#repair()
        else this.#ask()
      },
      this.#retryMs * (0.5 + Math.random()),
    )
    this.#retryMs = Math.min(lastRetryMs, this.#retryMs * 2)
  }

  /** The server says so on the side, and to each request anew: whoever gives the permission need not start us again. */
  #deny(may: string, subject: string): void {
    this.#mark('denied', `this user may not ${may} ${subject}, so nothing comes from consumer '${this.#parts.durable}'`)
  }

  #mark(kind: 'denied' | 'missing', text: string): void {
    if (this.#stopped) return
    if (this.#trouble?.kind !== kind) this.#parts.warn(text)
    this.#trouble = { kind, text }
  }

  /** Why nothing comes, while that is so. */
  get trouble(): string | undefined {
    return this.#trouble?.text
  }

  #repair(): void {
    this.#giveUp()
    if (this.#repairing || this.#stopped) return
    this.#repairing = true
    this.#parts.missing().then(
      () => {
        this.#repairing = false
        if (this.#trouble?.kind === 'missing') this.#trouble = undefined
        this.#ask()
      },
      (error) => {
        this.#repairing = false
        this.#mark('missing', `consumer '${this.#parts.durable}' cannot be made again: ${error}`)
        this.#later(true)
      },
    )
  }

  // A user who may not hear it waits for the server's silence instead.
  #elected = (failure: Error | null): void => {
    if (failure || this.#stopped) return
    this.#giveUp()
    this.#ask()
  }

  /** The server says that it lives, or is taken for gone. */
  #listen = (): void => {
    if (this.#pending === 0 || performance.now() - this.#heardAt < silentMs) return
    this.#giveUp()
    this.#ask()
  }

  /** Resolves once nothing more can come. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    clearInterval(this.#watch)
    clearTimeout(this.#retry)
    clearTimeout(this.#probe)
    this.#stopListening()
    this.#elections.unsubscribe()
    // Still listening until the server has heard it.
    if (this.#parts.connection.connected) await this.#subscription.drain().catch(() => this.#subscription.unsubscribe())
    else this.#subscription.unsubscribe()
  }
}
