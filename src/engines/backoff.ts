/** Waits before attempts, ms: doubled each time, and at random, so that not all clients come back in one moment. */
export class Backoff {
  readonly #firstMs: number
  readonly #mostMs: number
  #waitMs: number

  constructor({
    reconnectWaitMs = 200,
    reconnectMaxWaitMs = 5000,
  }: { readonly reconnectWaitMs?: number; readonly reconnectMaxWaitMs?: number }) {
    this.#firstMs = reconnectWaitMs
    this.#mostMs = Math.max(reconnectWaitMs, reconnectMaxWaitMs)
    this.#waitMs = this.#firstMs
  }

  next(): number {
    const waitMs = this.#waitMs * (0.5 + Math.random() / 2)
    this.#waitMs = Math.min(this.#mostMs, this.#waitMs * 2)
    return waitMs
  }

  reset(): void {
    this.#waitMs = this.#firstMs
  }
}
