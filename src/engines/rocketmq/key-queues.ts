import { BusError } from '../../errors.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import { looseJson } from './protocol.ts'

const namespace = 'cozebus-keys'

/** A queue by its broker's name and its number. */
interface Place {
  readonly broker: string
  readonly id: number
}

/**
 * Over which queues of a topic its keys are divided: noted on the name servers by who publishes the first message with a key.
 * They drop a master at once that was killed: over those that are left most keys would have another queue, be handled there
 * beside what waits for that master, and move back when it comes.
 */
export class KeyQueues {
  readonly #cluster: Cluster
  readonly #known = new Map<string, readonly Place[]>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  has({ topic }: Route): boolean {
    return this.#known.has(topic)
  }

  /** @throws BusError `engine_unavailable` when no name server answers */
  async find(route: Route): Promise<void> {
    const { topic } = route
    const what = `topic '${topic}'`
    const note = await this.#cluster.note(namespace, topic, what)
    const noted = note === undefined ? [] : read(note)
    const counts = new Map(route.brokers.flatMap(({ name, writeQueues }) => (writeQueues > 0 ? [[name, writeQueues] as const] : [])))
    // A master that is there with fewer queues has had the topic made anew.
    if (noted.length > 0 && noted.every(({ broker, id }) => id < (counts.get(broker) ?? Number.POSITIVE_INFINITY))) {
      this.#known.set(topic, noted)
      return
    }
    const value = JSON.stringify(Object.fromEntries(counts))
    await this.#cluster.putNote(namespace, topic, value, what)
    this.#known.set(topic, read(value))
  }

  /** With the topic. */
  async forget(topic: string): Promise<void> {
    this.#known.delete(topic)
    await this.#cluster.putNote(namespace, topic, '{}', `topic '${topic}'`)
  }

  /** @throws BusError `engine_unavailable` where the master of that queue is away: the key waits for it */
  at({ topic, writable }: Route, hash: number): Queue {
    const places = this.#known.get(topic)!
    const { broker, id } = places[hash % places.length]!
    const found = writable.find((queue) => queue.id === id && queue.broker.name === broker)
    if (found) return found
    if (writable.some((queue) => queue.broker.name === broker)) this.#known.delete(topic)
    throw new BusError(
      'engine_unavailable',
      `topic '${topic}': queue ${id} of ${broker}, where this key is, is away; where it is gone for good, delete the note '${topic}' in '${namespace}' on the name servers (mqadmin deleteKvConfig)`,
    )
  }
}

function read(text: string): Place[] {
  try {
    const counts = Object.entries(looseJson(Buffer.from(text)) as Record<string, unknown>)
    return counts
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([broker, count]) => Array.from({ length: Number(count) }, (_, id) => ({ broker, id })))
  } catch {
    return []
  }
}
