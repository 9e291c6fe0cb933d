import type { Msg } from '@nats-io/transport-node'
import type { Checkpoints } from './checkpoints.ts'
import type { Connection } from './connection.ts'
import type { Consumers, Durable } from './consumers.ts'
import { NatsDelivery, parseAck } from './delivery.ts'
import { Puller } from './puller.ts'

export interface ReaderParts {
  readonly connection: Connection
  readonly consumers: Consumers
  readonly checkpoints: Checkpoints
  readonly durable: Durable
  readonly partitioned: boolean
  readonly deliver: (delivery: NatsDelivery) => void
  readonly warn: (text: string) => void
}

/** One durable consumer, read. With an owner's epoch it begins at what the owner before left unfinished. */
export class Reader {
  readonly #parts: ReaderParts
  #puller: Puller | undefined
  #ackWaitMs = 0
  #scope: string | undefined
  #epoch = 0
  /** Up to here messages may have been handed to an owner before: the server's own count began anew. */
  #redeliveredTo = 0

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  /** Shared: whoever asks gets some. */
  async open(): Promise<void> {
    const { consumers, durable } = this.#parts
    this.#ackWaitMs = (await consumers.ensure(durable)).config.ack_wait! / 1e6
    this.#pull()
  }

  /**
   * Owned: nobody else reads. What the owner before had in hand comes first and in order, before anything new: otherwise
   * the server would give new messages at once and those only after their lease.
   */
  async own(scope: string, epoch: number, clean: boolean): Promise<void> {
    const { consumers, durable } = this.#parts
    const info = await consumers.ensure(durable)
    this.#ackWaitMs = info.config.ack_wait! / 1e6
    this.#scope = scope
    this.#epoch = epoch
    // An owner that left in order gave all back: those come first by themselves.
    if (!clean && info.num_ack_pending > 0) {
      this.#redeliveredTo = info.delivered.stream_seq
      await consumers.rewind(durable, info)
    }
    this.#pull()
  }

  #pull(): void {
    const { connection, durable, warn } = this.#parts
    this.#puller = new Puller({
      connection,
      stream: durable.stream,
      durable: durable.name,
      deliver: this.#take,
      missing: () => this.#restore(),
      warn,
    })
  }

  #take = (msg: Msg): void => {
    const { durable, partitioned, deliver } = this.#parts
    const ack = msg.reply === undefined ? undefined : parseAck(msg.reply)
    if (!ack) return
    const origin = {
      storage: durable.storage,
      stream: durable.stream,
      partitioned,
      scope: this.#scope,
      epoch: this.#epoch,
      redeliveredTo: this.#redeliveredTo,
      ackWaitMs: this.#ackWaitMs,
      leaseMs: durable.ackWaitMs,
    }
    deliver(new NatsDelivery(msg, ack, origin, Date.now()))
  }

  /** The consumer was deleted, or its server lost it: again, from where the group stood. */
  async #restore(): Promise<void> {
    const { consumers, checkpoints, durable } = this.#parts
    if (await consumers.find(durable.stream, durable.name)) return
    const stood = await checkpoints.read(durable)
    if (stood === undefined) {
      await consumers.ensure(durable)
      return
    }
    this.#redeliveredTo = Math.max(this.#redeliveredTo, stood.delivered)
    await consumers.again(durable, stood.floor + 1)
  }

  get durable(): Durable {
    return this.#parts.durable
  }

  /** Asked for and not come. */
  get asked(): number {
    return this.#puller?.open ?? 0
  }

  want(messages: number): void {
    this.#puller?.want(messages)
  }

  async stop(): Promise<void> {
    await this.#puller?.stop()
    this.#puller = undefined
  }
}
