import { within } from '../../within.ts'
import type { Connection } from './connection.ts'
import { cls, fin, rdy } from './protocol.ts'

const quietMs = 1000

/** A message that comes so soon after nsqd was allowed it had been waiting, ms; or three times the way there and back. */
const soonMs = 2
/** So many in a row that each were all that nsqd was allowed are a stream too: a busy process sees none come soon. */
const streamLength = 16
/** After so long without any the next one is alone, ms. */
const aloneMs = 10
/** After so long without any there is no stream. */
const idleMs = 50

/** One connection that reads one channel of one nsqd. */
export class Session {
  readonly nsqd: string
  readonly connection: Connection
  /** {@link Nsqd.bornNs} */
  readonly bornNs: bigint
  /** How long a message is ours without a word of it. */
  readonly msgTimeoutMs: number
  /** How long it can be at all. */
  readonly maxMsgTimeoutMs: number
  /** Messages of it in hand: nsqd counts the same. */
  inFlight = 0
  /**
   * The most that nsqd may send ahead. What nsqd sends it keeps for up to 25 ms, to send more along with it, unless that was
   * all that it may send. So a single message is all, and comes at once; where more wait the window doubles.
   */
  window = 1
  #messageAt = 0
  #streak = 0
  /** Messages since the last that came alone or first. */
  #together = 0
  readonly #soonMs: number
  /** As nsqd was told last. */
  #rdy = 0
  readonly #told: string[] = []
  #toldAt = 0

  constructor(nsqd: string, connection: Connection, bornNs: bigint) {
    this.bornNs = bornNs
    this.#soonMs = Math.max(soonMs, connection.roundTripMs * 3)
    this.nsqd = nsqd
    this.connection = connection
    this.msgTimeoutMs = connection.info.msg_timeout
    this.maxMsgTimeoutMs = connection.info.max_msg_timeout
  }

  get open(): boolean {
    return this.connection.open
  }

  /** A message came that is not counted yet. */
  came(now: number): void {
    const gap = now - this.#messageAt
    this.#messageAt = now
    const alone = gap > aloneMs && this.#together <= 1
    this.#together = gap > aloneMs ? 1 : this.#together + 1
    if (this.spare > 1) {
      this.#streak = 0
      if (alone) this.window = 1
      return
    }
    this.#streak = gap > idleMs ? 0 : this.#streak + 1
    if (gap < this.#soonMs || this.#streak >= streamLength) this.window = Math.min(this.window * 2, this.connection.info.max_rdy_count)
  }

  /** True when the stream has ended. */
  calmed(now: number): boolean {
    if (this.window === 1 || now - this.#messageAt < idleMs) return false
    this.window = 1
    return true
  }

  /** How many more nsqd may send. */
  get spare(): number {
    return this.#rdy - this.inFlight
  }

  allow(more: number): void {
    const count = Math.max(0, Math.min(this.inFlight + more, this.connection.info.max_rdy_count))
    if (count === this.#rdy) return
    this.#rdy = count
    this.connection.send(rdy(count))
  }

  /** The message is done with. */
  finish(id: string): void {
    this.tell(id)
    this.connection.send(fin(id))
  }

  /** That nsqd is told now that the message is done with. */
  tell(id: string): void {
    this.#told[this.#toldAt] = id
    this.#toldAt = (this.#toldAt + 1) % this.connection.info.max_rdy_count
  }

  /** It is not done with after all. */
  untell(id: string): void {
    const at = this.#told.indexOf(id)
    if (at >= 0) this.#told[at] = ''
  }

  /**
   * What nsqd was told last that it is done with; '' for none. Of these it may not have read any, of those before it has read
   * all: until it has read so, nsqd counts a message as in flight, and never has more of them in flight than that.
   */
  get told(): readonly string[] {
    return this.#told
  }

  /** Resolves once nsqd sends nothing any more, or does not answer for {@link quietMs}: what comes all the same is given back. */
  async quiet(): Promise<void> {
    await within(
      quietMs,
      this.connection.ask([cls], `nsqd ${this.nsqd}`).catch(() => {}),
    )
  }
}
