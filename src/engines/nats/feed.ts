import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream'
import { type Msg, nanos } from '@nats-io/transport-node'
import type { Api } from './api.ts'
import type { Connection } from './connection.ts'
import { type AckInfo, parseAck } from './delivery.ts'
import { Puller } from './puller.ts'

const ahead = 256
/** A consumer that nobody asks any more goes by itself after so long. */
const idleMs = 60_000
const againMs = 500

export interface FeedParts {
  readonly connection: Connection
  readonly api: Api
  readonly stream: string
  readonly subject: string
  readonly take: (msg: Msg, told: AckInfo) => void
}

/**
 * What a stream gets from a sequence on, all of it and in order, by a consumer of our own. Where that is lost, or something
 * that it sent may be, another one goes on behind what came. It is gone after: those of the client's watch stay for minutes.
 */
export class Feed {
  readonly #parts: FeedParts
  readonly #stopListening: () => void
  #puller: Puller | undefined
  #name = ''
  /** The last sequence that came. */
  #seen: number
  /** The number that the server gives to what it sends next. */
  #next = 1
  /** Come, and not asked for anew. */
  #came = 0
  #renewing: Promise<void> | undefined
  #closed = false

  private constructor(parts: FeedParts, after: number) {
    this.#parts = parts
    this.#seen = after
    // What was on its way is lost, and nothing need come after it that would tell.
    this.#stopListening = parts.connection.listen({ back: () => void this.#renew() })
  }

  static async open(parts: FeedParts, after: number): Promise<Feed> {
    const feed = new Feed(parts, after)
    try {
      await feed.#begin()
      return feed
    } catch (error) {
      feed.#stopListening()
      throw error
    }
  }

  async #begin(): Promise<void> {
    const { connection, api, stream, subject } = this.#parts
    const { name } = await api.consumers.add(stream, {
      ack_policy: AckPolicy.None,
      inactive_threshold: nanos(idleMs),
      mem_storage: true,
      num_replicas: 1,
      filter_subject: subject,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#seen + 1,
    })
    this.#name = name
    this.#next = 1
    this.#came = 0
    if (this.#closed) return this.#forget()
    const puller: Puller = new Puller({
      connection,
      stream,
      durable: name,
      deliver: (msg) => {
        if (this.#puller === puller) this.#arrived(puller, msg)
      },
      room: () => Number.MAX_SAFE_INTEGER,
      missing: () => this.#renew(),
      warn: () => {},
    })
    this.#puller = puller
    puller.want(ahead)
  }

  #arrived(puller: Puller, msg: Msg): void {
    const told = msg.reply === undefined ? undefined : parseAck(msg.reply)
    if (!told) return
    if (told.consumerSequence !== this.#next) {
      void this.#renew()
      return
    }
    this.#next++
    this.#seen = told.sequence
    if (++this.#came >= ahead / 2) {
      puller.want(this.#came)
      this.#came = 0
    }
    this.#parts.take(msg, told)
  }

  /** Another consumer, behind what came. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#again().finally(() => {
      this.#renewing = undefined
    })
    return this.#renewing
  }

  async #again(): Promise<void> {
    void this.#puller?.stop()
    this.#puller = undefined
    this.#forget()
    while (!this.#closed) {
      try {
        await this.#begin()
        return
      } catch {
        await new Promise((resolve) => setTimeout(resolve, againMs).unref())
      }
    }
  }

  #forget(): void {
    if (this.#parts.connection.connected) void this.#parts.api.consumers.delete(this.#parts.stream, this.#name).catch(() => {})
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#stopListening()
    await this.#puller?.stop()
    this.#forget()
  }
}
