import { createInbox, type errors, type Msg, type Subscription } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { OnStored, Outgoing, PublishOutcome } from '../engine.ts'
import type { Connection } from './connection.ts'
import type { Doubts } from './doubts.ts'
import { apiCode, apiFailure, mayNotPublish, natsError } from './failure.ts'
import { FastIngest } from './fast-ingest.ts'
import { headerText } from './headers.ts'
import { subjectOf } from './names.ts'
import { numbersIn } from './raw.ts'
import { sequenceIn } from './stored.ts'
import type { StreamRef, Streams } from './streams.ts'

const answerWaitMs = 5000
/** A place is told apart by its use: a late answer is never taken for that of a later message. */
const uses = 2 ** 30
const sweepEveryMs = 250

/** Messages sent together; settled when each has an outcome. */
interface Sending {
  readonly outcomes: PublishOutcome[]
  /** ms, by `performance.now()`. */
  readonly sentAt: number
  open: number
  readonly stored: OnStored | undefined
  resolve(outcomes: PublishOutcome[]): void
}

interface Waiting {
  readonly sending: Sending
  readonly index: number
  readonly ref: StreamRef
  readonly subject: string
  readonly id: string
  /** The stream's last sequence that was known when it was sent. */
  readonly after: number
  readonly use: number
}

/**
 * The way out of JetStream: one inbox for all acknowledgements, a number for each message under way, one timer for all.
 * The client's own publish makes a request of each, five times as dear, and never sends again.
 */
export class Publishing {
  readonly #connection: Connection
  readonly #streams: Streams
  readonly #doubts: Doubts
  readonly #fast: FastIngest
  readonly #inbox = createInbox()
  readonly #answers: Subscription
  /** By place; places are used again, as a map would keep what was answered alive. */
  readonly #waiting: (Waiting | undefined)[] = []
  readonly #free: number[] = []
  #uses = 0
  readonly #sweep: NodeJS.Timeout
  readonly #stop: () => void
  readonly #prefix: number
  readonly #maxBytes: number

  constructor(connection: Connection, streams: Streams, doubts: Doubts, maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#connection = connection
    this.#streams = streams
    this.#doubts = doubts
    this.#fast = new FastIngest(connection, streams, doubts, maxBytes)
    this.#prefix = this.#inbox.length + 1
    this.#answers = connection.nc.subscribe(`${this.#inbox}.*`, { callback: this.#answered })
    this.#sweep = setInterval(this.#expire, sweepEveryMs)
    this.#sweep.unref()
    this.#stop = connection.listen({
      lost: () => this.#failAll('the connection was lost before the server answered; the message may be stored'),
      denied: (error) => this.#denied(error),
    })
  }

  async publish(batch: readonly Outgoing[], stored?: OnStored): Promise<PublishOutcome[]> {
    this.#connection.mustBeConnected()
    const refs = new Array<StreamRef | BusError>(batch.length)
    let missing: Set<string> | undefined
    for (let i = 0; i < batch.length; i++) {
      const ref = this.#streams.ready(batch[i]!.storage)
      if (ref) refs[i] = ref
      else (missing ??= new Set()).add(batch[i]!.storage)
    }
    if (missing) await this.#look(batch, refs, missing)
    const settled = this.#doubts.any ? await this.#doubts.settle(batch, refs) : undefined
    this.#connection.mustBeConnected()
    const fast = settled?.length ? undefined : this.#fast.send(batch, refs)
    return this.#window(batch, refs, fast ? await fast : settled, stored)
  }

  /** For all streams at once, and once for each. */
  async #look(batch: readonly Outgoing[], refs: (StreamRef | BusError)[], missing: ReadonlySet<string>): Promise<void> {
    const found = new Map<string, StreamRef | BusError>()
    const look = async (storage: string): Promise<void> => {
      found.set(storage, await this.#streams.ensure(storage).catch((error: BusError) => error))
    }
    await Promise.all([...missing].map(look))
    for (let i = 0; i < batch.length; i++) refs[i] ??= found.get(batch[i]!.storage)!
  }

  /** Sends what has no outcome yet, each message with an answer of its own. */
  #window(
    batch: readonly Outgoing[],
    refs: readonly (StreamRef | BusError)[],
    settled: readonly (PublishOutcome | undefined)[] | undefined,
    stored: OnStored | undefined,
  ): Promise<PublishOutcome[]> {
    const gone = this.#gone()
    const sentAt = performance.now()
    return new Promise((resolve) => {
      const sending: Sending = { outcomes: new Array(batch.length), sentAt, open: batch.length, stored, resolve }
      for (let i = 0; i < batch.length; i++) {
        const outcome = settled?.[i]
        if (outcome) settle(sending, i, outcome)
        else if (gone) settle(sending, i, { ok: false, error: gone })
        else this.#send(batch[i]!, i, refs[i]!, sending)
      }
      this.#connection.frames.send()
    })
  }

  /** Fast ingest may have taken its time before. */
  #gone(): BusError | undefined {
    try {
      this.#connection.mustBeConnected()
      return undefined
    } catch (thrown) {
      return natsError(thrown, 'NATS')
    }
  }

  #send(message: Outgoing, index: number, ref: StreamRef | BusError, sending: Sending): void {
    if (ref instanceof BusError) {
      settle(sending, index, { ok: false, error: ref })
      return
    }
    const refused = this.#refusal(message)
    if (refused) {
      settle(sending, index, { ok: false, error: refused })
      return
    }
    const subject = subjectOf(message, ref.partitions)
    const place = this.#free.pop() ?? this.#waiting.length
    this.#uses = (this.#uses + 1) % uses
    const use = this.#uses
    this.#waiting[place] = { sending, index, ref, subject, id: message.id, after: ref.last, use }
    try {
      this.#connection.frames.add(subject, message.body, `${this.#inbox}.${place}-${use}`, headerText(message))
    } catch (thrown) {
      this.#settle(place, { ok: false, error: natsError(thrown, `topic '${message.name}'`) })
    }
  }

  #refusal(message: Outgoing): BusError | undefined {
    const { name, body, deliverAt } = message
    if (body.byteLength > this.#maxBytes)
      return new BusError(
        'message_too_large',
        `topic '${name}': the body has ${body.byteLength} bytes and this server takes ${this.#maxBytes}; make it smaller, or connect with claimCheck: true`,
      )
    if (deliverAt !== undefined && deliverAt > Date.now())
      return new BusError('unsupported', `topic '${name}': NATS keeps no delays for us here; the bus keeps them in its ledger`)
    return undefined
  }

  #settle(place: number, outcome: PublishOutcome): void {
    const waiting = this.#waiting[place]
    if (!waiting) return
    this.#waiting[place] = undefined
    this.#free.push(place)
    if (!outcome.ok && outcome.error.code === 'publish_unknown') this.#doubts.remember({ ...waiting, sentAt: waiting.sending.sentAt })
    settle(waiting.sending, waiting.index, outcome)
  }

  // It must not throw: the client would stop reading.
  #answered = (failure: Error | null, msg: Msg): void => {
    if (failure) return
    const [place, use] = numbersIn(msg, this.#prefix)
    const waiting = this.#waiting[place]
    if (waiting?.use !== use) return
    try {
      this.#settle(place, this.#outcomeOf(msg, waiting))
    } catch (thrown) {
      this.#settle(place, {
        ok: false,
        error: new BusError('publish_unknown', `topic '${waiting.subject}': the answer cannot be read`, { cause: thrown }),
      })
    }
  }

  #outcomeOf(msg: Msg, { ref, subject }: Waiting): PublishOutcome {
    if (msg.data.byteLength === 0 && msg.headers?.code === 503) {
      // No leader at the moment, or the stream is gone: the next try looks.
      this.#streams.forget(ref.storage)
      return { ok: false, error: new BusError('engine_unavailable', `topic '${subject}': no stream takes it at the moment`) }
    }
    const stored = sequenceIn(msg.data)
    if (stored > 0) {
      if (stored > ref.last) ref.last = stored
      return { ok: true, position: String(stored), duplicate: false }
    }
    const answer = JSON.parse(msg.string()) as { seq?: number; duplicate?: boolean; error?: { err_code: number; description: string } }
    if (answer.error) {
      const { err_code: code, description } = answer.error
      // The same id is being stored: not yet a duplicate, not yet a failure.
      if (code === apiCode.duplicateInProcess)
        return { ok: false, error: new BusError('publish_unknown', `topic '${subject}': ${description}`) }
      return { ok: false, error: apiFailure(code, description, `topic '${subject}'`) }
    }
    // Known and nowhere: still on its way, or refused before by a cluster of 2.10, which remembers the id of what it refused.
    if (answer.duplicate && !answer.seq)
      return {
        ok: false,
        error: new BusError('publish_unknown', `topic '${subject}': the server knows its id and has not stored it so far`),
      }
    if (answer.seq! > ref.last) ref.last = answer.seq!
    return { ok: true, position: String(answer.seq), duplicate: answer.duplicate === true }
  }

  #expire = (): void => {
    this.#doubts.forgetOld()
    const now = performance.now()
    for (let place = 0; place < this.#waiting.length; place++) {
      const waiting = this.#waiting[place]
      if (waiting && now - waiting.sending.sentAt >= answerWaitMs)
        this.#settle(place, {
          ok: false,
          error: new BusError(
            'publish_unknown',
            `topic '${waiting.subject}': no answer within ${answerWaitMs} ms; the message may be stored`,
          ),
        })
    }
  }

  #failAll(why: string): void {
    for (let place = 0; place < this.#waiting.length; place++) {
      const waiting = this.#waiting[place]
      if (waiting) this.#settle(place, { ok: false, error: new BusError('publish_unknown', `topic '${waiting.subject}': ${why}`) })
    }
  }

  /** A refused publish is told by the server on the side; its answer never comes. */
  #denied(error: InstanceType<typeof errors.PermissionViolationError>): void {
    if (error.operation !== 'publish') return
    for (let place = 0; place < this.#waiting.length; place++) {
      const waiting = this.#waiting[place]
      if (waiting?.subject === error.subject)
        this.#settle(place, {
          ok: false,
          error: mayNotPublish(waiting.subject),
        })
    }
  }

  close(): void {
    clearInterval(this.#sweep)
    this.#stop()
    this.#fast.close()
    this.#failAll('the bus was closed before the server answered')
    this.#answers.unsubscribe()
  }
}

function settle(sending: Sending, index: number, outcome: PublishOutcome): void {
  sending.outcomes[index] = outcome
  if (outcome.ok) sending.stored?.(index, outcome)
  if (--sending.open === 0) sending.resolve(sending.outcomes)
}
