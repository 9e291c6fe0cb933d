const windowMs = 50
const mostAhead = 512
/**
 * Handled and not yet confirmed by the engine: past this, handlers wait for the engine instead of filling the memory. As many as are
 * handled while a commit of Kafka's is on its way, and the one behind it.
 */
const mostUnsettled = 8 * mostAhead

/**
 * How many messages to have in hand. Besides those being handled, as many are fetched ahead as handlers finished in the
 * last 50 ms: none for jobs of minutes, so that an idle member gets them, and up to 512 for handlers of microseconds,
 * so that none waits for the engine. (More brought no speed, and V8 a nursery twice as large: 60 MB.)
 */
export class Credit {
  readonly #concurrency: number
  readonly #parkedMost: number
  #ahead = 0
  #finished = 0
  #since = 0
  /** Granted and not yet delivered. */
  #granted = 0
  readonly #bytes: number
  #owedBytes: number

  constructor(concurrency: number, parkedMost: number, bytes: number) {
    this.#bytes = bytes
    this.#concurrency = concurrency
    this.#parkedMost = parkedMost
    this.#owedBytes = bytes
  }

  delivered(messages: number): void {
    this.#granted = Math.max(0, this.#granted - messages)
  }

  finished(bytes: number): void {
    this.#finished++
    this.#owedBytes += bytes
  }

  /**
   * What to grant now, given what is running, what could run at once, what waits behind its key, and what is being settled;
   * undefined = nothing worth a call.
   */
  next(
    running: number,
    ready: number,
    parked: number,
    unsettled: number,
    now: number,
    most = Number.POSITIVE_INFINITY,
  ): { messages: number; bytes: number } | undefined {
    const elapsed = now - this.#since
    if (elapsed >= windowMs) {
      this.#ahead = Math.min(mostAhead, Math.ceil((this.#finished * windowMs) / elapsed))
      this.#finished = 0
      this.#since = now
    }
    if (parked >= this.#parkedMost || unsettled >= mostUnsettled) return undefined
    const target = Math.min(most, this.#concurrency + Math.max(this.#ahead, Math.min(mostAhead, this.#finished)))
    const messages = target - running - ready - this.#granted
    // A call into the engine for each message would cost more than the message: wait for a quarter, unless nothing is left.
    // What runs does not count as left: jobs of minutes in the other three would keep this one empty.
    const few = messages <= 0 || (messages < target / 4 && ready + this.#granted > 0)
    // The messages that are granted may all be waiting for bytes.
    if (few && this.#owedBytes < this.#bytes / 4) return undefined
    const bytes = this.#owedBytes
    this.#owedBytes = 0
    this.#granted += Math.max(0, messages)
    return { messages: Math.max(0, messages), bytes }
  }
}
