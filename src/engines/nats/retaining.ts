import type { ConsumerInfo, StreamInfo } from '@nats-io/jetstream'
import type { Retention } from '../engine.ts'
import type { Api } from './api.ts'
import { filtersOf } from './consumers.ts'
import { natsError } from './failure.ts'
import { firstSince, nextOf, timeOf } from './since.ts'
import type { StreamRef, Streams } from './streams.ts'

const firstLookMs = 1000
const everyMs = 5000
/** Age goes on by itself. */
const ageMs = 60_000
/** A consumer that is made anew is away for a moment: its place counts for so long after it was last seen. */
const awayMs = 30_000
interface Place {
  /** All before is settled. */
  readonly next: number
  readonly seenAt: number
}

interface Kept {
  readonly ref: StreamRef
  readonly retention: Retention
  /** By consumer. */
  readonly places: Map<string, Place>
  /** The stream's last sequence that was known at the last look. */
  last: number
  lookedAt: number
  /** When its groups were last asked. */
  askedAt: number
  /** More than it should keep, for the sake of a group. */
  over: boolean
}

/**
 * Keeps topics made here to their retention, by deleting what is beyond it and settled by all groups. The server's own limits
 * know nothing of groups, and would delete what nobody has read.
 */
export class Retaining {
  readonly #api: Api
  readonly #streams: Streams
  readonly #kept = new Map<string, Kept>()
  #timer: NodeJS.Timeout | undefined
  #warned = false
  #closed = false

  constructor(api: Api, streams: Streams) {
    this.#api = api
    this.#streams = streams
  }

  /** From now on, until {@link close}. */
  keep(ref: StreamRef, retention: Retention): void {
    const { ageMs: age, messages, bytes } = retention
    if (age === undefined && messages === undefined && bytes === undefined) this.#kept.delete(ref.storage)
    else this.#kept.set(ref.storage, { ref, retention, places: new Map(), last: -1, lookedAt: 0, askedAt: 0, over: false })
    this.#again(firstLookMs)
  }

  #again(waitMs: number): void {
    if (this.#closed || this.#kept.size === 0) return
    clearTimeout(this.#timer)
    // Not all processes of a service at the same moment.
    this.#timer = setTimeout(() => void this.#round(), waitMs * (0.8 + Math.random() * 0.4))
    this.#timer.unref()
  }

  async #round(): Promise<void> {
    for (const kept of this.#kept.values()) {
      if (this.#closed) return
      try {
        await this.#look(kept)
      } catch (thrown) {
        // Whatever it is may pass, but for this.
        const { code, message } = natsError(thrown, `the retention of topic '${kept.ref.storage}'`)
        if (code === 'forbidden' && !this.#warned) process.emitWarning(message, { type: 'CozebusWarning', code })
        this.#warned ||= code === 'forbidden'
      }
    }
    this.#again(everyMs)
  }

  async #look(kept: Kept): Promise<void> {
    const { last } = this.#streams.ready(kept.ref.storage) ?? kept.ref
    const now = performance.now()
    const aged = kept.retention.ageMs !== undefined && now - kept.lookedAt >= Math.min(ageMs, kept.retention.ageMs)
    if (last === kept.last && !kept.over && !aged) return
    const info = await this.#api.streams.info(kept.ref.name)
    const end = await this.#endOf(info, kept.retention)
    kept.last = last
    kept.lookedAt = now
    kept.over = end > info.state.first_seq
    if (!kept.over) return
    // Twice, with some time between: a consumer that is away at one moment is there at the other.
    const again = now - kept.askedAt < awayMs && kept.askedAt > 0
    const asked = await this.#ask(kept, info)
    if (!asked) return
    kept.askedAt = now
    const upTo = [...kept.places.values()].reduce((least, { next }) => Math.min(least, next), end)
    if (again && upTo > info.state.first_seq) await this.#api.streams.purge(kept.ref.name, { seq: upTo })
  }

  /** Where what the topic is to keep begins. */
  async #endOf(info: StreamInfo, { ageMs: age, messages, bytes }: Retention): Promise<number> {
    const { state } = info
    if (state.messages === 0) return state.first_seq
    const mean = state.bytes / state.messages
    const excess = Math.max(state.messages - (messages ?? state.messages), Math.floor((state.bytes - (bytes ?? state.bytes)) / mean), 0)
    const end = Math.min(state.first_seq + excess, state.last_seq + 1)
    return age === undefined ? end : Math.max(end, await firstSince(this.#api, info, (timeOf(info) ?? Date.now()) - age))
  }

  /** Where each group stands; false where not all say. */
  async #ask({ ref, places }: Kept, info: StreamInfo): Promise<boolean> {
    const consumers = await this.#api.consumers.list(ref.name)
    // One without a leader is left out of the list.
    if (consumers.length < info.state.consumer_count) return false
    const now = performance.now()
    for (const [consumer, { seenAt }] of places) if (now - seenAt > awayMs) places.delete(consumer)
    for (const one of consumers)
      if (one.config.durable_name !== undefined)
        places.set(one.name, { next: await this.#nextOf(one, ref, info.state.last_seq), seenAt: now })
    return true
  }

  /** The first message that the consumer has not settled. `last`: the stream's, before the consumer was asked. */
  async #nextOf(
    { config, ack_floor: floor, num_pending: waiting, num_ack_pending: inHand }: ConsumerInfo,
    ref: StreamRef,
    last: number,
  ): Promise<number> {
    if (waiting + inHand === 0) return last + 1
    const filters = filtersOf(config)
    const found = await Promise.all(
      (filters.length > 0 ? filters : ref.subjects).map((subject) => nextOf(this.#api, ref.name, floor.stream_seq + 1, subject)),
    )
    return Math.min(...found.map((message) => message?.seq ?? last + 1))
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
