import type { ConsumerInfo } from '@nats-io/jetstream'
import { untilAnswered } from './asking.ts'
import type { Buckets } from './buckets.ts'
import { type Consumers, type Durable, madeHere, type StreamState } from './consumers.ts'
import { checkpointsBucket, hashed } from './names.ts'

/** Where a group stands, ms between two looks. */
const everyMs = 15_000
/** How long a stream that ends before what was had of it may be one that is still being read by its new leader. */
const catchUpMs = 3000

/** A place that survives its consumer. */
export interface Place {
  /** All up to here is acknowledged. */
  readonly floor: number
  /** All up to here was handed to somebody. */
  readonly delivered: number
  /** When the stream was made that these are sequences of. */
  readonly born: string
}

/** Who reads a durable, and how many messages it has had. */
export interface Reading {
  readonly durable: Durable
  readonly taken: number
}

interface Kept {
  readonly timer: NodeJS.Timeout
  /** With so many of them nothing was left to acknowledge: until another comes nothing changes. */
  restedAt: number
}

/** Groups' places in a bucket of their own: the server forgets a group's place when its consumer is deleted. */
export class Checkpoints {
  readonly #buckets: Buckets
  readonly #consumers: Consumers
  readonly #kept = new Map<Reading, Kept>()
  readonly #written = new Map<string, string>()
  readonly #streams = new Map<string, StreamState>()

  constructor(buckets: Buckets, consumers: Consumers) {
    this.#buckets = buckets
    this.#consumers = consumers
  }

  /** From now on, until {@link drop}. */
  keep(reading: Reading): void {
    // Not all members of a service at the same moment.
    const timer = setInterval(() => void this.#look(reading).catch(() => {}), everyMs * (0.8 + Math.random() * 0.4))
    timer.unref()
    this.#kept.set(reading, { timer, restedAt: -1 })
  }

  async #look(reading: Reading): Promise<void> {
    const kept = this.#kept.get(reading)
    const { durable, taken } = reading
    if (!kept || taken === kept.restedAt) return
    const info = await this.#consumers.find(durable.stream, durable.name)
    if (!info) return
    await this.write(durable, info)
    if (info.num_ack_pending === 0) kept.restedAt = taken
  }

  async write(durable: Durable, info: ConsumerInfo): Promise<void> {
    const { born } = this.#streams.get(durable.stream) ?? (await this.streamOf(durable))
    const place: Place = { floor: info.ack_floor.stream_seq, delivered: info.delivered.stream_seq, born }
    const key = keyOf(durable)
    const mark = `${place.born}/${place.floor}`
    if (this.#written.get(key) === mark) return
    const kv = await this.#buckets.get(checkpointsBucket)
    await untilAnswered(() => kv.put(key, JSON.stringify(place)))
    this.#written.set(key, mark)
  }

  /** The stream as it is now: one of the same name may have taken the place of the one before. */
  async streamOf({ stream }: Pick<Durable, 'stream'>): Promise<StreamState> {
    const state = await this.#consumers.stream(stream)
    this.#streams.set(stream, state)
    return state
  }

  /** The durable, made where it is missing: from where its group stood, if it stood anywhere. */
  async ensure(durable: Durable): Promise<{ info: ConsumerInfo; made: boolean; stood: boolean }> {
    const found = await this.#consumers.found(durable)
    if (found) return { info: found, made: false, stood: true }
    const stood = await this.#read(durable)
    if (!stood) {
      const info = await this.#consumers.ensure(durable)
      // It stands somewhere from now on: made again it does not begin at what is new then.
      await this.write(durable, info)
      return { info, made: true, stood: false }
    }
    // All that is in another stream of the same name came after what the group has seen.
    const { born, last } = await this.streamOf(durable)
    const floor = stood.born === born ? Math.min(stood.floor, last) : 0
    return { info: await this.#consumers.again(durable, floor + 1), made: true, stood: true }
  }

  /**
   * The same for whoever reads it now, and has had messages up to `seen`. A consumer that is past the end of its stream, which
   * went back, would be silent until that is there again.
   */
  async begin(durable: Durable, seen = 0): Promise<{ info: ConsumerInfo; made: boolean; stood: boolean; stream: StreamState }> {
    const before = this.#streams.get(durable.stream)
    const { info, made, stood } = await this.ensure(durable)
    let stream = await this.streamOf(durable)
    const ends = (): boolean => stream.last < Math.max(seen, info.delivered.stream_seq) && stream.born === (before ?? stream).born
    // A new leader may not have got to the end of what it has.
    for (const until = performance.now() + catchUpMs; ends() && performance.now() < until; ) {
      await new Promise((resolve) => setTimeout(resolve, catchUpMs / 10))
      stream = await this.streamOf(durable)
    }
    if (info.delivered.stream_seq <= stream.last || !madeHere(info.config)) return { info, made, stood, stream }
    const floor = Math.min(info.ack_floor.stream_seq, stream.last)
    return { info: await this.#consumers.rewind(durable, info, floor), made: true, stood: true, stream }
  }

  async #read(durable: Pick<Durable, 'stream' | 'name'>): Promise<Place | undefined> {
    const kv = await this.#buckets.get(checkpointsBucket)
    const entry = await untilAnswered(() => kv.get(keyOf(durable)))
    return entry?.operation === 'PUT' ? entry.json<Place>() : undefined
  }

  async forget(durable: Pick<Durable, 'stream' | 'name'>): Promise<void> {
    this.#written.delete(keyOf(durable))
    const kv = await this.#buckets.get(checkpointsBucket)
    await untilAnswered(() => kv.purge(keyOf(durable)))
  }

  /** `look`: once more before that. */
  async drop(reading: Reading, look: boolean): Promise<void> {
    clearInterval(this.#kept.get(reading)?.timer)
    if (look) await this.#look(reading).catch(() => {})
    this.#kept.delete(reading)
  }
}

function keyOf({ stream, name }: Pick<Durable, 'stream' | 'name'>): string {
  return hashed(`${stream}/${name}`)
}
