import type { ConsumerInfo } from '@nats-io/jetstream'
import type { Msg } from '@nats-io/transport-node'
import type { Connection } from './connection.ts'
import type { Durable } from './consumers.ts'
import type { AckInfo } from './delivery.ts'

const nak = new TextEncoder().encode('-NAK')
/** What is held until all of it is there: no more than that, and no longer, ms. An owner has some thousand in hand at most. */
const mostHeld = 10_000
const widest = 100_000
const silentMs = 2000

/**
 * Whether all that is not acknowledged can be given back one by one in the place of who had it: not while somebody still
 * waits for messages, an owner that only seems dead, for they would go to him.
 */
export function canGiveBack({ num_waiting, num_ack_pending, ack_floor, delivered }: ConsumerInfo): boolean {
  return num_waiting === 0 && num_ack_pending <= mostHeld && delivered.stream_seq - ack_floor.stream_seq < widest
}

/** Which of them are not acknowledged the server knows; the others it leaves alone. Resolves once it has read all. */
export async function giveBack(connection: Connection, { stream, name }: Durable, { ack_floor, delivered }: ConsumerInfo): Promise<void> {
  const subject = (sequence: number): string => `$JS.ACK.${stream}.${name}.1.${sequence}.${delivered.consumer_seq}.0.0`
  for (let sequence = ack_floor.stream_seq + 1; sequence < delivered.stream_seq; sequence++) connection.nc.publish(subject(sequence), nak)
  await connection.nc.request(subject(delivered.stream_seq), nak, { timeout: silentMs })
}

export interface Come {
  readonly msg: Msg
  readonly told: AckInfo
}

/** What comes again, until all of it is there: the server sends first what ran out first, which need not be the order. */
export class Again {
  readonly #count: number
  readonly #to: number
  readonly #release: (come: readonly Come[], whole: boolean) => void
  readonly #come: Come[] = []
  readonly #timer: NodeJS.Timeout
  #over = false

  /** `release` gets what came, in order, and whether that is all of it. */
  constructor({ num_ack_pending, delivered }: ConsumerInfo, release: (come: readonly Come[], whole: boolean) => void) {
    this.#count = num_ack_pending
    this.#to = delivered.stream_seq
    this.#release = release
    this.#timer = setTimeout(this.#end, silentMs)
  }

  get waits(): boolean {
    return !this.#over
  }

  /** False once it is over. */
  take(come: Come): boolean {
    if (this.#over) return false
    this.#come.push(come)
    this.#timer.refresh()
    // What is newer comes after all of them; some may be acknowledged, or gone from the stream, by now.
    if (this.#come.length >= this.#count || come.told.sequence > this.#to) this.#end()
    return true
  }

  #end = (): void => {
    if (this.#over) return
    this.stop()
    const old = this.#come.filter(({ told }) => told.sequence <= this.#to).length
    this.#release(
      this.#come.sort((a, b) => a.told.sequence - b.told.sequence),
      old >= this.#count,
    )
  }

  stop(): void {
    this.#over = true
    clearTimeout(this.#timer)
  }
}
