import type { ConsumerInfo } from '@nats-io/jetstream'
import type { Msg } from '@nats-io/transport-node'
import { Again, type Come, canGiveBack, giveBack } from './again.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Connection } from './connection.ts'
import { type Consumers, type Durable, madeHere } from './consumers.ts'
import { type AckInfo, NatsDelivery, parseAck } from './delivery.ts'
import { Puller } from './puller.ts'

const ack = new TextEncoder().encode('+ACK')
const nak = new TextEncoder().encode('-NAK')
/** What may be on its way while a consumer ends. */
const inFlight = 1000
const firstRetryMs = 50
const lastRetryMs = 2000
/** So many gaps, each within this of the one before and none of them explained: somebody else reads here too. */
const strangeGaps = 5
const soonMs = 30_000
/** Whoever still waits for messages when we have not for so long is somebody else. */
const strangerMs = 300

export interface ReaderParts {
  readonly connection: Connection
  readonly consumers: Consumers
  readonly checkpoints: Checkpoints
  readonly durable: Durable
  readonly partitioned: boolean
  readonly deliver: (delivery: NatsDelivery) => void
  /** How many bytes it may have under way. */
  readonly room: () => number
  /** It is in our hands already, and by this reply from now on; false = it is not. */
  readonly adopt: (durable: Durable, sequence: number, reply: string) => boolean
  /** What is in our hands is of a stream that is gone: acknowledging it would be taken for another's. */
  readonly forsake: (durable: Durable, scope: string | undefined) => void
  readonly warn: (text: string) => void
}

interface Owning {
  readonly scope: string
  readonly epoch: number
  readonly held: () => boolean
}

/**
 * One durable consumer, read. With an owner's epoch it begins at what the owner before left unfinished, and sees to it
 * that nothing passes a message that the server sent and that never came: the server counts what it sends, and where a
 * number is missing all that is not acknowledged is asked for again, in order.
 */
export class Reader {
  readonly #parts: ReaderParts
  #puller: Puller | undefined
  #ackWaitMs = 0
  #owning: Owning | undefined
  /** Up to here messages may have been handed to somebody before: the server's own count began anew. */
  #redeliveredTo = 0
  /** The number that the server gives to what it sends next. */
  #next = 1
  /** The highest sequence that came. */
  #seen = 0
  /** All that came came in order: what is not in hand of it is acknowledged. */
  #orderly = true
  /** Up to here messages come once more; those not in hand are done. */
  #doneTo = 0
  #gaps = 0
  #gapAt = 0
  #guarded = true
  #turning = false
  /** Replies to what came since the gap. */
  readonly #missed: string[] = []
  #wantedMeanwhile = 0
  #instead = 0
  #again: Again | undefined
  #born = ''
  #stopped = false
  /** How many messages came. */
  taken = 0

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  /** Shared: whoever asks gets some. */
  async open(): Promise<void> {
    const { checkpoints, durable } = this.#parts
    const { info } = await checkpoints.ensure(durable)
    this.#ackWaitMs = info.config.ack_wait! / 1e6
    this.#born = (await checkpoints.streamOf(durable)).born
    this.#pull()
  }

  /**
   * Owned: nobody else reads. What the owner before had in hand comes first and in order, before anything new: otherwise
   * the server would give new messages at once and those only after their lease. `held`: whether we still own it.
   */
  async own(scope: string, epoch: number, clean: boolean, held: () => boolean): Promise<void> {
    const { checkpoints, durable } = this.#parts
    this.#owning = { scope, epoch, held }
    const { info, made } = await checkpoints.ensure(durable)
    this.#ackWaitMs = info.config.ack_wait! / 1e6
    const { born, last } = await checkpoints.streamOf(durable)
    this.#born = born
    if (this.#stopped) return
    // An owner that left in order gave all back: those come first by themselves. One that did not may only seem dead.
    if (made) this.#redeliveredTo = clean ? 0 : last
    if (clean || made) this.#next = info.delivered.consumer_seq + 1
    else await this.#rewind(info)
    this.#pull()
  }

  /** All that is not acknowledged comes once more, in order, before anything new. */
  async #rewind(info: ConsumerInfo): Promise<void> {
    const { connection, consumers, checkpoints, durable } = this.#parts
    // The owner before may have been sent some more while we looked.
    this.#redeliveredTo = Math.max(this.#redeliveredTo, info.delivered.stream_seq + inFlight)
    this.#again?.stop()
    this.#again = undefined
    if (canGiveBack(info)) {
      this.#next = info.delivered.consumer_seq + 1
      if (info.num_ack_pending === 0) return
      await giveBack(connection, durable, info)
      if (this.#stopped) return
      this.#again = new Again(info, this.#released)
      this.#wantedMeanwhile = Math.max(this.#wantedMeanwhile, info.num_ack_pending)
      return
    }
    if (!madeHere(info.config)) {
      // Whoever made it may read it: it is not ours to make anew, and what is in somebody's hand comes after its lease.
      this.#next = info.delivered.consumer_seq + 1
      this.#giveWay()
      return
    }
    // Another consumer: it also sends what is done, as the server forgets that. Written down first: whoever comes after our
    // death meanwhile finds no consumer, and where it stood.
    await checkpoints.write(durable, info)
    if (this.#stopped) return
    await consumers.rewind(durable, info)
    this.#next = 1
  }

  #released = (come: readonly Come[]): void => {
    if (this.#stopped) return
    for (const { msg, told } of come) this.#pass(msg, told)
  }

  #pull(): void {
    if (this.#stopped) return
    const { connection, durable, room, warn } = this.#parts
    const puller: Puller = new Puller({
      connection,
      stream: durable.stream,
      durable: durable.name,
      // What an owner before us had in hand has to come whole, to be put in order; he had room for it.
      room: () => (this.#again?.waits ? Number.MAX_SAFE_INTEGER : room()),
      // What was asked for by one before comes once more.
      deliver: (msg) => {
        if (this.#puller === puller) this.#take(msg)
        else if (this.#turning) this.#missed.push(msg.reply!)
      },
      missing: () => this.#restore(),
      warn,
    })
    this.#puller = puller
    if (this.#wantedMeanwhile > 0) puller.want(this.#wantedMeanwhile)
    this.#wantedMeanwhile = 0
  }

  #take(msg: Msg): void {
    const told = msg.reply === undefined ? undefined : parseAck(msg.reply)
    if (!told) return
    this.taken++
    if (!this.#owning) this.#hand(msg, told)
    else if (!this.#isNext(told)) this.#missed.push(msg.reply!)
    else if (!this.#again?.take({ msg, told })) this.#pass(msg, told)
  }

  #hand(msg: Msg, told: AckInfo): void {
    const { durable, partitioned, deliver } = this.#parts
    const origin = {
      storage: durable.storage,
      stream: durable.stream,
      durable: durable.name,
      partitioned,
      scope: this.#owning?.scope,
      epoch: this.#owning?.epoch ?? 0,
      held: this.#owning?.held,
      redeliveredTo: this.#redeliveredTo,
      ackWaitMs: this.#ackWaitMs,
      leaseMs: durable.ackWaitMs,
    }
    deliver(new NatsDelivery(msg, told, origin, performance.now()))
  }

  /** False where something before it is missing. */
  #isNext({ consumerSequence }: AckInfo): boolean {
    if (consumerSequence !== this.#next && this.#isGap()) return false
    this.#next = consumerSequence + 1
    return true
  }

  /** Handed on, unless it is in hand or done. */
  #pass(msg: Msg, told: AckInfo): void {
    const { sequence } = told
    if (sequence > this.#seen) {
      this.#seen = sequence
      this.#hand(msg, told)
      return
    }
    const { adopt, connection, durable } = this.#parts
    if (!adopt(durable, sequence, msg.reply!)) {
      if (sequence > this.#doneTo) {
        this.#orderly = false
        this.#hand(msg, told)
        return
      }
      connection.nc.publish(msg.reply!, ack)
    }
    this.#wantInstead()
  }

  /** What came was no message for anybody: another one instead, asked for once for all of a read. */
  #wantInstead(): void {
    if (this.#instead++ > 0) return
    queueMicrotask(() => {
      const messages = this.#instead
      this.#instead = 0
      this.want(messages)
    })
  }

  /** Turns back, unless somebody else reads the same consumer, one that knows nothing of owners: then there is no order to keep. */
  #isGap(): boolean {
    const now = performance.now()
    const explained = this.#puller!.troubled
    this.#puller!.troubled = false
    const soon = now - this.#gapAt < soonMs
    this.#gapAt = now
    this.#gaps = explained ? 0 : soon ? this.#gaps + 1 : 1
    // He may be gone.
    if (!soon) this.#guarded = true
    if (!this.#guarded) return false
    if (this.#gaps < strangeGaps) {
      void this.#turnBack(explained)
      return true
    }
    this.#giveWay()
    return false
  }

  /** Others read here too, until there have been no gaps for a while. */
  #giveWay(): void {
    this.#guarded = false
    // What is not in hand here may be in theirs, and not done.
    this.#orderly = false
    this.#doneTo = 0
    const { durable, warn } = this.#parts
    const text = `consumer '${durable.name}' of stream '${durable.stream}' has other readers, which know nothing of its owner: messages of one key may be handled at once`
    warn(text)
    process.emitWarning(text, { type: 'CozebusWarning', code: 'order_shared' })
  }

  /** What is in hand stays there; the server sends all that is not acknowledged once more. */
  async #turnBack(explained: boolean): Promise<void> {
    if (this.#turning) return
    this.#turning = true
    const before = this.#puller!
    this.#puller = undefined
    this.#wantedMeanwhile += before.open + 1
    void before.stop()
    const { connection, checkpoints, durable, warn } = this.#parts
    const aloneBy = performance.now() + strangerMs
    for (let waitMs = firstRetryMs; !this.#stopped; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        const { info, made } = await checkpoints.ensure(durable)
        if (this.#stopped || !(await this.#isSame())) break
        if (made) this.#next = 1
        else if (explained || info.num_waiting === 0) await this.#rewind(info)
        else if (performance.now() < aloneBy) {
          // Our own request may be there still.
          await new Promise((resolve) => setTimeout(resolve, waitMs))
          continue
        } else {
          this.#giveWay()
          // What was sent to us since the gap: to whoever comes first, not after its lease.
          for (const reply of this.#missed) connection.nc.publish(reply, nak)
          this.#next = info.delivered.consumer_seq + 1
          break
        }
        this.#doneTo = this.#orderly ? this.#seen : 0
        break
      } catch (error) {
        warn(`consumer '${durable.name}' cannot be read: ${error}`)
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
    this.#missed.length = 0
    this.#turning = false
    this.#pull()
  }

  /** The consumer was deleted, or its server lost it: again, from where the group stood. */
  async #restore(): Promise<void> {
    const { made } = await this.#parts.checkpoints.ensure(this.#parts.durable)
    if (!(await this.#isSame()) || !made) return
    this.#next = 1
    this.#doneTo = this.#orderly ? this.#seen : 0
  }

  /** Whether it is still the same stream. All that is there now may have been handed to somebody before; in another one nothing was. */
  async #isSame(): Promise<boolean> {
    const { checkpoints, durable, forsake } = this.#parts
    const { born, last } = await checkpoints.streamOf(durable)
    if (born === this.#born) {
      this.#redeliveredTo = Math.max(this.#redeliveredTo, last)
      return true
    }
    this.#born = born
    this.#redeliveredTo = 0
    forsake(durable, this.#owning?.scope)
    return false
  }

  get durable(): Durable {
    return this.#parts.durable
  }

  /** Asked for and not come. */
  get asked(): number {
    return this.#puller?.open ?? this.#wantedMeanwhile
  }

  want(messages: number): void {
    if (this.#puller) this.#puller.want(messages)
    else if (this.#turning) this.#wantedMeanwhile += messages
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#again?.stop()
    await this.#puller?.stop()
    this.#puller = undefined
  }
}
