import { createInbox, Empty, type errors, type Msg, type Subscription } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Outgoing, PublishOutcome } from '../engine.ts'
import type { Connection } from './connection.ts'
import type { Doubts } from './doubts.ts'
import { mayNotPublish } from './failure.ts'
import { headerText } from './headers.ts'
import { subjectOf } from './names.ts'
import type { StreamRef, Streams } from './streams.ts'

/** Fewer gain nothing: a batch has two answers of its own. */
const fewest = 32
const answerWaitMs = 5000
/** How long a stream is left alone on which others were seen to publish: each batch between theirs has to be read back. */
const sharedForMs = 60_000

/** The operations of a batch (ADR-50). */
const op = { start: 0, append: 1, commit: 2, ping: 4 } as const

interface Flight {
  readonly ref: StreamRef
  readonly batch: readonly Outgoing[]
  readonly subjects: readonly string[]
  readonly prefix: string
  readonly sentAt: number
  /** The stream's last sequence that was known when it was sent. */
  readonly after: number
  /** What the server said of single messages; `false`: this one is not stored. */
  readonly said: (PublishOutcome | false | undefined)[]
  /** How many of them it said nothing of yet. */
  open: number
  sent: number
  readonly timer: NodeJS.Timeout
  resolve(outcomes: (PublishOutcome | undefined)[]): void
}

interface Answer {
  readonly type?: string
  readonly error?: unknown
  readonly seq?: number
  readonly duplicate?: boolean
  readonly batch?: string
  readonly count?: number
}

/**
 * Many messages with one answer, where the stream takes them so (`allow_batched`, server 2.14 and later). The answer says up
 * to which message all is stored and at which sequence the last one lies, nothing of any other, and a duplicate is left out in
 * silence. So it is for new ids alone, which nobody can have sent before; and sequences are counted back from the last where
 * nobody else published meanwhile, else read. What is not stored for certain is left to the window.
 */
export class FastIngest {
  readonly #connection: Connection
  readonly #streams: Streams
  readonly #doubts: Doubts
  readonly #maxBytes: number
  readonly #inbox = createInbox()
  #answers: Subscription | undefined
  readonly #flights = new Map<string, Flight>()
  /** Until when a stream is left alone. */
  readonly #shared = new WeakMap<StreamRef, number>()
  readonly #stop: () => void
  #made = 0

  constructor(connection: Connection, streams: Streams, doubts: Doubts, maxBytes: number) {
    this.#connection = connection
    this.#streams = streams
    this.#doubts = doubts
    this.#maxBytes = maxBytes
    this.#stop = connection.listen({
      lost: () => this.#failAll('the connection was lost before the server answered; the message may be stored'),
      denied: (error) => this.#denied(error),
    })
  }

  /** By index the outcome of each message, or nothing for one that is not stored; undefined where the batch is not for this way. */
  send(batch: readonly Outgoing[], refs: readonly (StreamRef | BusError)[]): Promise<(PublishOutcome | undefined)[]> | undefined {
    const ref = refs[0]
    if (batch.length < fewest || ref instanceof BusError || !ref?.batched) return undefined
    if ((this.#shared.get(ref) ?? 0) > performance.now()) return undefined
    const doubts = this.#doubts.any
    for (let i = 0; i < batch.length; i++) {
      const { fresh, deliverAt, body } = batch[i]!
      if (refs[i] !== ref || !fresh || deliverAt !== undefined || body.byteLength > this.#maxBytes) return undefined
      if (doubts && this.#doubts.has(batch[i]!)) return undefined
    }
    return new Promise((resolve) => this.#send(batch, ref, resolve))
  }

  #send(batch: readonly Outgoing[], ref: StreamRef, resolve: Flight['resolve']): void {
    this.#answers ??= this.#connection.nc.subscribe(`${this.#inbox}.>`, { callback: this.#answered })
    // On the server a batch has this name alone, among those of all clients.
    const name = `${this.#inbox.slice(this.#inbox.lastIndexOf('.') + 1)}-${++this.#made}`
    const flight: Flight = {
      ref,
      batch,
      subjects: batch.map((message) => subjectOf(message, ref.partitions)),
      prefix: `${this.#inbox}.${name}.${batch.length}.fail.`,
      sentAt: performance.now(),
      after: ref.last,
      said: new Array(batch.length),
      open: batch.length,
      sent: 0,
      timer: setTimeout(() => this.#fail(name, `no answer within ${answerWaitMs} ms; the message may be stored`), answerWaitMs).unref(),
      resolve,
    }
    this.#flights.set(name, flight)
    const last = batch.length - 1
    try {
      for (let i = 0; i <= last; i++) {
        const message = batch[i]!
        const reply = `${flight.prefix}${i + 1}.${i === last ? op.commit : i === 0 ? op.start : op.append}.$FI`
        this.#connection.frames.add(flight.subjects[i]!, message.body, reply, headerText(message))
        flight.sent++
      }
      this.#connection.frames.send()
    } catch {
      this.#connection.frames.send()
      // The window says what is wrong with this one, and sends the rest.
      if (flight.sent === 0) this.#settle(name, flight, 0)
      else this.#end(flight)
    }
  }

  /** A batch whose last message did not arrive has to be told that no more comes: by asking after one that was not sent. */
  #end({ subjects, prefix, sent }: Flight): void {
    this.#connection.nc.publish(subjects[0]!, Empty, { reply: `${prefix}${sent + 1}.${op.ping}.$FI` })
  }

  // It must not throw: the client would stop reading.
  #answered = (failure: Error | null, msg: Msg): void => {
    if (failure) return
    const [name, , , seq] = msg.subject.slice(this.#inbox.length + 1).split('.') as [string, string, string, string]
    const flight = this.#flights.get(name)
    if (!flight) return
    try {
      this.#hear(name, flight, Number(seq) - 1, msg)
    } catch {
      this.#fail(name, 'the answer cannot be read')
    }
  }

  #hear(name: string, flight: Flight, index: number, msg: Msg): void {
    const nobody = msg.data.byteLength === 0 && msg.headers?.code === 503
    // No leader at the moment, or the stream is gone: the window looks.
    if (nobody) this.#streams.forget(flight.ref.storage)
    const answer: Answer = nobody ? { error: 503 } : JSON.parse(msg.string())
    if (answer.error !== undefined) {
      if (index >= flight.sent) this.#fail(name, 'the server knows nothing of its batch; the message may be stored')
      else this.#say(name, flight, index, false)
    } else if (answer.batch !== undefined) {
      this.#settle(name, flight, answer.count!, answer.seq!)
    } else if (answer.type === undefined) {
      // A server that knows no batches, as one that was set back to an older version: each message has an answer.
      this.#say(name, flight, index, { ok: true, position: String(answer.seq), duplicate: answer.duplicate === true })
    }
  }

  #say(name: string, flight: Flight, index: number, what: PublishOutcome | false): void {
    if (flight.said[index] !== undefined) return
    flight.said[index] = what
    if (--flight.open === 0) this.#settle(name, flight, 0)
    else if (what === false && index === flight.batch.length - 1) this.#end(flight)
  }

  /** The first `count` messages are stored, without those that were refused; the last one lies at `sequence`. */
  #settle(name: string, flight: Flight, count: number, sequence = 0): void {
    const { ref, batch, said } = flight
    this.#close(name, flight)
    const stored: number[] = []
    for (let i = 0; i < count; i++) if (said[i] === undefined) stored.push(i)
    const before = ref.last
    if (sequence > before) ref.last = sequence
    const outcomes = said.map((one) => one || undefined)
    if (sequence - before === stored.length) {
      // As many as were stored there since our last one, so they are these.
      for (const [n, i] of stored.entries()) outcomes[i] = { ok: true, position: String(before + 1 + n), duplicate: false }
      flight.resolve(outcomes)
    } else if (stored.length === 0) {
      flight.resolve(outcomes)
    } else {
      this.#shared.set(ref, performance.now() + sharedForMs)
      const wanted = new Map(stored.map((i) => [batch[i]!.id, i]))
      void this.#doubts
        .find(ref, ref.subjects, flight.after, flight.sentAt, wanted)
        // Stored they are; where is only told.
        .catch(() => new Map<string, string>())
        .then((found) => {
          for (const i of stored) outcomes[i] = { ok: true, position: found.get(batch[i]!.id), duplicate: false }
          flight.resolve(outcomes)
        })
    }
  }

  /** Nothing more is heard of it: what the server said nothing of may be stored. */
  #fail(name: string, why: string): void {
    const flight = this.#flights.get(name)
    if (!flight) return
    this.#close(name, flight)
    const { ref, batch, subjects, said, sentAt, after } = flight
    flight.resolve(
      batch.map(({ id }, i) => {
        const one = said[i]
        if (one) return one
        if (one === false) return { ok: false, error: new BusError('engine_unavailable', `topic '${subjects[i]}': no stream took it`) }
        this.#doubts.remember({ ref, id, after, sentAt })
        return { ok: false, error: new BusError('publish_unknown', `topic '${subjects[i]}': ${why}`) }
      }),
    )
  }

  #failAll(why: string): void {
    for (const name of [...this.#flights.keys()]) this.#fail(name, why)
  }

  #denied(error: InstanceType<typeof errors.PermissionViolationError>): void {
    if (error.operation !== 'publish') return
    for (const [name, flight] of [...this.#flights])
      for (const [i, subject] of flight.subjects.entries())
        if (subject === error.subject) this.#say(name, flight, i, { ok: false, error: mayNotPublish(subject) })
  }

  #close(name: string, flight: Flight): void {
    clearTimeout(flight.timer)
    this.#flights.delete(name)
  }

  close(): void {
    this.#stop()
    this.#failAll('the bus was closed before the server answered')
    this.#answers?.unsubscribe()
  }
}
