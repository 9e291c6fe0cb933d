import type { Delivery } from '../engines/engine.ts'
import type { AttemptState } from '../ledger/attempts.ts'
import type { Headers } from '../message/headers.ts'
import type { Message } from './message.ts'

/** The queue of one key: its head is being handled, delayed or settled; the rest waits. */
export interface Lane {
  readonly id: string
  head: Job
  readonly waiting: Job[]
}

/** A message in hand, from its delivery to its settlement. */
export class Job {
  readonly delivery: Delivery
  /** The message's own id, name, key, headers and bytes, whatever the transport's are. */
  readonly id: string
  readonly name: string
  readonly key: string | undefined
  readonly headers: Headers | undefined
  readonly body: Uint8Array
  readonly at: number
  /** The storage the group reads, also for a replay that came through the private topic. */
  readonly storage: string
  /** Its place in {@link Hand}; -1 outside. */
  place = -1
  /** When the lease was last given or extended, ms. */
  leasedAt: number
  /** An extension is on its way. While the engine is away a second one would only pile up behind it. */
  extending = false
  /** `writing`: handled, and waiting for the ledger; `settling`: the engine has been told. */
  state: 'queued' | 'parked' | 'running' | 'delayed' | 'writing' | 'settling' | 'gone' = 'queued'
  lane: Lane | undefined
  /** The ledger knows that it is in hand here, where it has to. */
  noted = false
  attempts: AttemptState | undefined
  message: Message | undefined
  timer: NodeJS.Timeout | undefined
  startedAt = 0
  progress: { fraction: number; note: string | undefined } | undefined
  /** Which run of the handler this is; a result of an older one is ignored. */
  run = 0
  #abort: AbortController | undefined

  constructor(
    delivery: Delivery,
    storage: string,
    id: string,
    name: string,
    key: string | undefined,
    headers: Headers | undefined,
    body: Uint8Array,
    at: number,
    now: number,
  ) {
    this.delivery = delivery
    this.storage = storage
    this.id = id
    this.name = name
    this.key = key
    this.headers = headers
    this.body = body
    this.at = at
    this.leasedAt = now
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    return this.#abort.signal
  }

  abort(reason: unknown): void {
    this.#abort ??= new AbortController()
    this.#abort.abort(reason)
  }

  /** The next run begins: with a signal of its own, and the message as it came, whatever the last one did to it. */
  begin(now: number): void {
    this.startedAt = now
    if (this.run++ === 0) return
    this.#abort = undefined
    this.progress = undefined
    this.message = undefined
  }
}
