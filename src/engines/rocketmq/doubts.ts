import type { BusError } from '../../errors.ts'
import type { Cluster, Queue } from './cluster.ts'
import { findOffsets, queueKey } from './offsets.ts'
import { pull } from './pulling.ts'

/** A broker may still take what it has read of a connection that has ended. */
const settleMs = 1000
const againMs = 300
/** Between its clock and ours, ms. */
const clocksMs = 60_000
/** Where delayed messages lie until they are due, and after. */
const timerTopic = 'rmq_sys_wheel_timer'

export interface Doubt {
  readonly topic: string
  readonly queue: Queue
  /** It waits in the broker's own topic first, and lies in its queue once it was due. */
  readonly delayed: boolean
  /** The first offset that it can have, where that is known. */
  readonly from: number | undefined
  /** By `Date.now()`. */
  readonly sentAt: number
  readonly uniques: readonly string[]
}

/**
 * What was sent and not answered: once the broker is there again its queue tells whether it is stored. RocketMQ stores what
 * is sent twice twice, so it is not sent again before that is known.
 */
export class Doubts {
  readonly #cluster: Cluster
  readonly #ends = new Map<string, number>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Behind what the broker has confirmed so far. */
  endOf(topic: string, queue: Queue): number | undefined {
    return this.#ends.get(`${topic}/${queueKey(queue)}`)
  }

  stored(topic: string, queue: Queue, end: number): void {
    const key = `${topic}/${queueKey(queue)}`
    this.#ends.set(key, Math.max(end, this.#ends.get(key) ?? 0))
  }

  /** Offsets by id of those that are stored. Throws `error` when nobody could say so until then, `performance.now()`. */
  async look(doubt: Doubt, until: number, error: BusError): Promise<Map<string, number>> {
    while (performance.now() < until && !this.#cluster.pool.closed) {
      try {
        // It may have been frozen, and has what it read before that still to do.
        await this.#cluster.dispatch.caughtUp(doubt.queue.broker)
        await new Promise((resolve) => setTimeout(resolve, settleMs))
        return await this.#scan(doubt)
      } catch {
        await new Promise((resolve) => setTimeout(resolve, againMs))
      }
    }
    throw error
  }

  async #scan({ topic, queue, delayed, from, sentAt, uniques }: Doubt): Promise<Map<string, number>> {
    const wanted = new Set(uniques)
    // In this order: what falls due meanwhile is seen at least once.
    const waiting = delayed ? await this.#scanQueue(timerTopic, { broker: queue.broker, id: 0 }, undefined, sentAt, wanted) : undefined
    return waiting !== undefined && waiting.size > 0 ? waiting : this.#scanQueue(topic, queue, from, sentAt, wanted)
  }

  async #scanQueue(
    topic: string,
    queue: Queue,
    from: number | undefined,
    sentAt: number,
    wanted: ReadonlySet<string>,
  ): Promise<Map<string, number>> {
    let offset = from ?? (await findOffsets(this.#cluster, topic, [queue], { timeMs: sentAt - clocksMs }))[0]!
    const [end] = await findOffsets(this.#cluster, topic, [queue], 'end')
    const found = new Map<string, number>()
    while (offset < end! && found.size < wanted.size) {
      const { messages, next } = await pull(this.#cluster, topic, queue, offset)
      for (const message of messages) {
        const unique = message.properties.get('UNIQ_KEY')
        if (unique !== undefined && wanted.has(unique)) found.set(unique, message.offset)
      }
      if (next <= offset) break
      offset = next
    }
    return found
  }
}
