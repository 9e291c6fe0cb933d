import { DeliverPolicy } from '@nats-io/jetstream'
import { BusError } from '../../errors.ts'
import type { Outgoing, PublishOutcome } from '../engine.ts'
import type { Api } from './api.ts'
import type { Connection } from './connection.ts'
import { subjectOf } from './names.ts'
import { readSome } from './reading.ts'
import { firstSince, timeOf } from './since.ts'
import type { StreamRef } from './streams.ts'

/** A publish is repeated for its caller's time, a delayed message until it is there: for most outages of a broker. */
const rememberedMs = 3600_000
const pageSize = 5000
/** How far apart the clocks of a cluster's servers may be. */
const clocksMs = 10_000

/** One message whose outcome is unknown: it lies behind `after`, if anywhere. */
interface Doubt {
  readonly after: number
  /** Of the first try. */
  readonly sentAt: number
}

/**
 * Messages whose last try had no answer. The server stores the same id once for its window; a repeat that comes later looks
 * first whether the message is there, on what its subject got since the first try.
 */
export class Doubts {
  readonly #connection: Connection
  readonly #api: Api
  /** By storage and id, the oldest first. */
  readonly #doubts = new Map<string, Doubt>()

  constructor(connection: Connection, api: Api) {
    this.#connection = connection
    this.#api = api
  }

  get any(): boolean {
    return this.#doubts.size > 0
  }

  has({ storage, id }: Outgoing): boolean {
    return this.#doubts.has(`${storage}/${id}`)
  }

  remember({ ref, id, after, sentAt }: { ref: StreamRef; id: string; after: number; sentAt: number }): void {
    const name = `${ref.storage}/${id}`
    if (!this.#doubts.has(name)) this.#doubts.set(name, { after, sentAt })
  }

  forgetOld(): void {
    const now = performance.now()
    for (const [name, { sentAt }] of this.#doubts) {
      if (now - sentAt < rememberedMs) return
      this.#doubts.delete(name)
    }
  }

  /** By index: the outcome of each message that is stored already, or of which it cannot be told. */
  async settle(batch: readonly Outgoing[], refs: readonly (StreamRef | BusError)[]): Promise<(PublishOutcome | undefined)[]> {
    const now = performance.now()
    const asked = new Map<string, { ref: StreamRef; after: number; sentAt: number; at: Map<string, number> }>()
    for (const [i, message] of batch.entries()) {
      const ref = refs[i]!
      const doubt = this.#doubts.get(`${message.storage}/${message.id}`)
      // Half the window: the repeat also needs its time to get there.
      if (!doubt || ref instanceof BusError || now - doubt.sentAt < ref.dedupeWindowMs / 2) continue
      const subject = subjectOf(message, ref.partitions)
      const one = asked.get(subject) ?? { ref, after: doubt.after, sentAt: doubt.sentAt, at: new Map() }
      one.after = Math.min(one.after, doubt.after)
      one.sentAt = Math.min(one.sentAt, doubt.sentAt)
      one.at.set(message.id, i)
      asked.set(subject, one)
    }
    const outcomes: (PublishOutcome | undefined)[] = []
    for (const [subject, { ref, after, sentAt, at }] of asked) {
      try {
        for (const [id, position] of await this.find(ref, [subject], after, sentAt, at)) {
          outcomes[at.get(id)!] = { ok: true, position, duplicate: true }
          this.#doubts.delete(`${ref.storage}/${id}`)
        }
      } catch (thrown) {
        const error = new BusError(
          'publish_unknown',
          `topic '${subject}': it cannot be told whether the first try was stored: ${(thrown as Error).message}`,
          { cause: thrown },
        )
        for (const i of at.values()) outcomes[i] = { ok: false, error }
      }
    }
    return outcomes
  }

  /** The positions of the messages with these ids, as far as they lie behind `after` and were sent then or later. */
  async find(
    ref: StreamRef,
    subjects: readonly string[],
    after: number,
    sentAt: number,
    wanted: ReadonlyMap<string, unknown>,
  ): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    for (let place = await this.#before(ref, after, sentAt); found.size < wanted.size; ) {
      const from = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: place + 1, headers_only: true }
      const page = await readSome(this.#connection, this.#api, ref, subjects, from, pageSize)
      for (const { id, position } of page) if (wanted.has(id) && !found.has(id)) found.set(id, position)
      if (page.length < pageSize) break
      place = Number(page.at(-1)!.position)
    }
    return found
  }

  /**
   * A place before all that was stored since then: the last that this process saw there, or, as that may be ages old, by
   * time: as far back from now by the server's clock as it was by ours.
   */
  async #before(ref: StreamRef, after: number, sentAt: number): Promise<number> {
    const agoMs = performance.now() - sentAt
    const info = await this.#api.streams.info(ref.name)
    const time = timeOf(info)
    if (time === undefined || info.state.last_seq - after <= pageSize) return after
    return Math.max(after, (await firstSince(this.#api, info, time - agoMs - clocksMs)) - 1)
  }
}
