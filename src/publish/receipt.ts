import type { BusError } from '../errors.ts'

/** What a confirmed publish left behind. */
export interface Receipt {
  readonly id: string
  readonly topic: string
  /** The engine's place of the message, where it tells. */
  readonly position: string | undefined
  /** The same id was stored before; this one was not stored again. */
  readonly duplicate: boolean
}

export type Outcome =
  | ({ readonly ok: true } & Receipt)
  | { readonly ok: false; readonly id: string; readonly topic: string; readonly error: BusError }

/**
 * The promise that `publish` gives. One that nobody awaits must not end the process when it fails: it tells `onError`
 * instead. So it notes whether anybody ever asked.
 */
export class PublishPromise extends Promise<Receipt> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  #asked = false

  // biome-ignore lint/suspicious/noThenProperty: this is a promise; `then` is how it learns that somebody listens
  override then<A = Receipt, B = never>(
    resolved?: ((value: Receipt) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#asked = true
    return super.then(resolved, rejected)
  }

  /** It is about to fail: calls back if nobody asked by then. Not before, as most never do. */
  guard(error: BusError, onError: (error: BusError) => void): void {
    super.then(undefined, () => {
      // `await` asks a few microtasks late: a publish refused at once must not be told twice.
      setImmediate(() => {
        if (!this.#asked) onError(error)
      })
    })
  }
}
