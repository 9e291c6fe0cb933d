import type { Cluster, Queue, Route } from './cluster.ts'
import { refused } from './failure.ts'
import { findOffsets, queueKey } from './offsets.ts'
import { answer, looseJson, request } from './protocol.ts'
import { pull } from './pulling.ts'

const namespace = 'cozebus-purged'

/** The first message that is left in a queue, and when the last one before it was stored. */
interface Floor {
  readonly offset: number
  readonly storedMs: number
}

/**
 * RocketMQ deletes by age alone, a whole file of its log at a time. What was purged is hidden here: the name servers keep
 * where each queue begins since, nothing before it is read, and no group begins before it.
 */
export class Floors {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Where each of the queues begins: what is stored, and not purged. */
  async starts({ topic, readable }: Route): Promise<number[]> {
    const [stored, floors] = await Promise.all([findOffsets(this.#cluster, topic, readable, 'start'), this.#of(topic)])
    return Promise.all(
      readable.map(async (queue, i) => {
        const floor = floors.get(queueKey(queue))
        if (!floor || floor.offset <= stored[i]!) return stored[i]!
        return (await this.#holds(topic, queue, floor)) ? floor.offset : stored[i]!
      }),
    )
  }

  /** A topic that was deleted since, and made again, begins anew. */
  async #holds(topic: string, queue: Queue, { offset, storedMs }: Floor): Promise<boolean> {
    const [last] = (await pull(this.#cluster, topic, queue, offset - 1)).messages
    return last !== undefined && last.offset === offset - 1 && last.storedMs === storedMs
  }

  async raise({ topic, readable }: Route, places: readonly number[], starts: readonly number[]): Promise<void> {
    const floors = await this.#of(topic)
    await Promise.all(
      readable.map(async (queue, i) => {
        const offset = places[i]!
        if (offset <= starts[i]!) return
        const [last] = (await pull(this.#cluster, topic, queue, offset - 1)).messages
        if (last) floors.set(queueKey(queue), { offset, storedMs: last.storedMs })
      }),
    )
    const value = JSON.stringify(Object.fromEntries(floors))
    await this.#cluster.tellNames(request.putNote, { namespace, key: topic, value }, `topic '${topic}'`)
  }

  async #of(topic: string): Promise<Map<string, Floor>> {
    const frame = await this.#cluster.askNames(request.notes, { namespace }, 'what was purged')
    if (frame.code === answer.noNotes) return new Map()
    if (frame.code !== answer.ok) throw refused(frame, 'what was purged')
    const { table } = looseJson(frame.body) as { table?: Record<string, unknown> }
    try {
      const found = JSON.parse(String(table?.[topic] ?? '{}')) as Record<string, Floor>
      return new Map(Object.entries(found).filter(([, floor]) => Number.isSafeInteger(floor?.offset)))
    } catch {
      return new Map()
    }
  }
}
