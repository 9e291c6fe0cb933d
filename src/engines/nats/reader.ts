import type { ConsumerInfo } from '@nats-io/jetstream'
import type { Msg } from '@nats-io/transport-node'
import { Again, type Come, canGiveBack, giveBack } from './again.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Connection } from './connection.ts'
import { type Consumers, type Durable, madeHere, type StreamState } from './consumers.ts'
import { type AckInfo, NatsDelivery, parseAck } from './delivery.ts'
import { Handed } from './handed.ts'
import { Puller } from './puller.ts'

const ack = new TextEncoder().encode('+ACK')
const nak = new TextEncoder().encode('-NAK')
/** So many messages more than the server says may have been handed out; each costs a look at what failed before. */
const inFlight = 1000
const firstRetryMs = 50
const lastRetryMs = 2000
const mostInVain = 5
/** After something was perhaps lost: leaders and connections have settled by then. */
const lookMs = 1000
/** So many gaps, each within this of the one before and none of them explained: somebody else reads here too. */
const strangeGaps = 5
const soonMs = 30_000
/** Whoever still waits for messages when we have not for so long is somebody else. */
const strangerMs = 300
/** Nobody else is there who has neither waited nor taken anything between so many looks. */
const quietLooks = 3

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
  #handed = new Handed()
  #gaps = 0
  #gapAt = 0
  #guarded = true
  #turning = false
  /** Replies to what came since the gap. */
  readonly #missed: string[] = []
  #wantedMeanwhile = 0
  #instead = 0
  #again: Again | undefined
  /** How often in a row what was given back did not come. */
  #vain = 0
  #born = ''
  #looking: NodeJS.Timeout | undefined
  #stopped = false
  /** How many messages came. */
  taken = 0

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  /** Shared: whoever asks gets some. */
  async open(): Promise<void> {
    const { checkpoints, durable } = this.#parts
    const { info, made, stood, stream } = await checkpoints.begin(durable)
    this.#ackWaitMs = oursFor(info)
    this.#born = stream.born
    if (made && stood) this.#redeliveredTo = stream.last
    this.#pull()
  }

  /**
   * Owned: nobody else reads. What the owner before had in hand comes first and in order, before anything new: otherwise
   * the server would give new messages at once and those only after their lease. `held`: whether we still own it.
   */
  async own(scope: string, epoch: number, held: () => boolean): Promise<void> {
    const { checkpoints, durable } = this.#parts
    this.#owning = { scope, epoch, held }
    const { info, made, stood, stream } = await checkpoints.begin(durable)
    this.#ackWaitMs = oursFor(info)
    this.#born = stream.born
    if (this.#stopped) return
    if (made) this.#redeliveredTo = stood ? stream.last : 0
    else await this.#rewind(info)
    this.#pull()
  }

  /**
   * All that is not acknowledged comes once more, in order, before anything new. Also what an owner gave back before it left:
   * the server forgets that with the consumer's leader, and would give it out after its lease.
   */
  async #rewind(info: ConsumerInfo): Promise<void> {
    const { connection, consumers, checkpoints, durable } = this.#parts
    this.#again?.stop()
    this.#again = undefined
    this.#next = info.delivered.consumer_seq + 1
    // More than that may have been sent: to whoever waits while we looked, or before the server died and forgot the last of it.
    if (info.delivered.consumer_seq > 0) this.#redeliveredTo = Math.max(this.#redeliveredTo, info.delivered.stream_seq + inFlight)
    if (info.num_ack_pending === 0 && info.num_waiting === 0) return
    if (canGiveBack(info)) {
      await giveBack(connection, durable, info)
      // Acknowledgements that were on their way are through by now.
      const left = await consumers.find(durable.stream, durable.name)
      if (!left) throw new Error('it was deleted')
      if (this.#stopped || left.num_ack_pending === 0) return
      this.#again = new Again(left, this.#released)
      this.#wantedMeanwhile = Math.max(this.#wantedMeanwhile, left.num_ack_pending)
      return
    }
    if (!madeHere(info.config)) {
      // Whoever made it may read it: it is not ours to make anew, and what is in somebody's hand comes after its lease.
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

  #released = (come: readonly Come[], whole: boolean): void => {
    if (this.#stopped) return
    if (!whole && this.#vain++ < mostInVain) {
      // Some did not come: the leader that was told may be gone. None may pass them.
      void this.#turnBack(true)
      return
    }
    if (!whole) this.#handed.restart()
    this.#vain = 0
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
      doubtful: this.#doubt,
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
    const { sequence, atMs } = told
    const { adopt, forsake, connection, durable } = this.#parts
    if (sequence > this.#handed.to) {
      if (!this.#guarded) this.#handed.restart()
      this.#handed.extend(sequence, atMs)
      this.#hand(msg, told)
    } else if (this.#handed.contradicts(sequence, atMs)) {
      forsake(durable, this.#owning?.scope)
    } else if (adopt(durable, sequence, msg.reply!)) {
      this.#wantInstead()
    } else if (this.#handed.has(sequence)) {
      connection.nc.publish(msg.reply!, ack)
      this.#wantInstead()
    } else {
      this.#hand(msg, told)
    }
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
    this.#handed.restart()
    const { durable, warn } = this.#parts
    const text = `consumer '${durable.name}' of stream '${durable.stream}' has other readers, which know nothing of its owner: messages of one key may be handled at once`
    warn(text)
    process.emitWarning(text, { type: 'CozebusWarning', code: 'order_shared' })
  }

  #doubt = (): void => {
    if (!this.#owning || this.#stopped) return
    this.#looking ??= setTimeout(() => void this.#lookBack(), lookMs)
    this.#looking.unref()
  }

  /** Whether the server has sent more than came: what comes next would show it, and may be long in coming. */
  async #lookBack(): Promise<void> {
    const { consumers, durable } = this.#parts
    const next = this.#next
    const info = await consumers.find(durable.stream, durable.name).catch(() => undefined)
    // It may be on its way.
    if (info) await new Promise((resolve) => setTimeout(resolve, lookMs / 4))
    this.#looking = undefined
    if (this.#stopped || this.#turning || this.#again?.waits || this.#next !== next) return
    if (!info) this.#doubt()
    else if (info.delivered.consumer_seq >= next) void this.#turnBack(true)
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
    let quiet = 0
    let delivered = -1
    for (let waitMs = firstRetryMs; !this.#stopped; waitMs = Math.min(lastRetryMs, waitMs * 2)) {
      try {
        const { info, made, stream } = await checkpoints.begin(durable, this.#handed.to)
        if (this.#stopped || !this.#isSame(stream)) break
        // Between two of his requests a stranger does not wait, but has taken something.
        quiet = info.num_waiting === 0 && info.delivered.consumer_seq === delivered ? quiet + 1 : 0
        delivered = info.delivered.consumer_seq
        if (made) this.#next = 1
        else if (explained || quiet === quietLooks) await this.#rewind(info)
        else if (quiet > 0 || performance.now() < aloneBy) {
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
    const { made, stream } = await this.#parts.checkpoints.begin(this.#parts.durable, this.#handed.to)
    if (this.#isSame(stream) && made) this.#next = 1
  }

  /** Whether it is still the same stream. All that is there now may have been handed to somebody before; in another one nothing was. */
  #isSame({ born, last }: StreamState): boolean {
    const { durable, forsake } = this.#parts
    if (born === this.#born && last >= this.#handed.to) {
      this.#redeliveredTo = Math.max(this.#redeliveredTo, last)
      return true
    }
    this.#born = born
    this.#redeliveredTo = 0
    this.#handed = new Handed()
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

  /** Why nothing comes, while that is so. */
  get trouble(): string | undefined {
    return this.#puller?.trouble
  }

  want(messages: number): void {
    if (this.#puller) this.#puller.want(messages)
    else if (this.#turning) this.#wantedMeanwhile += messages
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#looking)
    this.#again?.stop()
    await this.#puller?.stop()
    this.#puller = undefined
  }
}

/** How long a message is ours, ms: the server counts from when it sent it, and hears of extensions later than we send them. */
function oursFor({ config }: ConsumerInfo): number {
  const ackWaitMs = config.ack_wait! / 1e6
  return ackWaitMs - Math.min(500, ackWaitMs / 20)
}
