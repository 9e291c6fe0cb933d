import type { Buckets } from './buckets.ts'
import type { Consumers, Durable } from './consumers.ts'
import { checkpointsBucket, hashed } from './names.ts'

/** Where a group stands, ms between two looks. */
const everyMs = 15_000

/** A place that survives its consumer. */
export interface Place {
  /** All up to here is acknowledged. */
  readonly floor: number
  /** All up to here was handed to somebody. */
  readonly delivered: number
}

/** Groups' places in a bucket of their own: the server forgets a group's place when its consumer is deleted. */
export class Checkpoints {
  readonly #buckets: Buckets
  readonly #consumers: Consumers
  readonly #timers = new Map<Durable, NodeJS.Timeout>()
  readonly #written = new Map<string, number>()

  constructor(buckets: Buckets, consumers: Consumers) {
    this.#buckets = buckets
    this.#consumers = consumers
  }

  /** From now on, until {@link drop}. */
  keep(durable: Durable): void {
    // Not all members of a service at the same moment.
    const timer = setInterval(() => void this.write(durable).catch(() => {}), everyMs * (0.8 + Math.random() * 0.4))
    timer.unref()
    this.#timers.set(durable, timer)
  }

  async write(durable: Durable): Promise<void> {
    const info = await this.#consumers.find(durable.stream, durable.name)
    if (!info) return
    const place: Place = { floor: info.ack_floor.stream_seq, delivered: info.delivered.stream_seq }
    const key = keyOf(durable)
    if (this.#written.get(key) === place.floor) return
    await (await this.#buckets.get(checkpointsBucket)).put(key, JSON.stringify(place))
    this.#written.set(key, place.floor)
  }

  async read(durable: Pick<Durable, 'stream' | 'name'>): Promise<Place | undefined> {
    const entry = await (await this.#buckets.get(checkpointsBucket)).get(keyOf(durable))
    return entry?.operation === 'PUT' ? entry.json<Place>() : undefined
  }

  async forget(durable: Pick<Durable, 'stream' | 'name'>): Promise<void> {
    this.#written.delete(keyOf(durable))
    await (await this.#buckets.get(checkpointsBucket)).purge(keyOf(durable))
  }

  async drop(durable: Durable): Promise<void> {
    clearInterval(this.#timers.get(durable))
    if (this.#timers.delete(durable)) await this.write(durable).catch(() => {})
  }
}

function keyOf({ stream, name }: Pick<Durable, 'stream' | 'name'>): string {
  return hashed(`${stream}/${name}`)
}
