import type { Cluster, Queue } from './cluster.ts'
import { queueKey } from './offsets.ts'
import { pull } from './pulling.ts'

/** A place in a queue, and when the last message before it was stored. */
interface NotedPlace {
  readonly offset: number
  readonly storedMs: number
}

/**
 * Places in the queues of a topic, kept as notes on the name servers: those write down at once what they are told. By the
 * message before a place it is known whether the topic is still the one it was noted for, or was deleted since and made again.
 */
export class NotedPlaces {
  readonly #cluster: Cluster
  readonly #namespace: string
  readonly #what: string

  constructor(cluster: Cluster, namespace: string, what: string) {
    this.#cluster = cluster
    this.#namespace = namespace
    this.#what = what
  }

  /** One for each queue: `start` where it is past the noted one; undefined where nothing holds that was noted of it. */
  async of(key: string, topic: string, queues: readonly Queue[], starts: readonly number[]): Promise<(number | undefined)[]> {
    const noted = await this.#read(key)
    return Promise.all(
      queues.map(async (queue, i) => {
        const place = noted.get(queueKey(queue))
        if (!place) return undefined
        if (place.offset <= starts[i]!) return starts[i]!
        const [last] = (await pull(this.#cluster, topic, queue, place.offset - 1)).messages
        return last?.offset === place.offset - 1 && last.storedMs === place.storedMs ? place.offset : undefined
      }),
    )
  }

  /** Those of other queues stay. */
  async note(key: string, topic: string, queues: readonly Queue[], places: readonly number[]): Promise<void> {
    const noted = await this.#read(key)
    await Promise.all(
      queues.map(async (queue, i) => {
        const offset = places[i]!
        const [last] = offset === 0 ? [] : (await pull(this.#cluster, topic, queue, offset - 1)).messages
        noted.set(queueKey(queue), { offset, storedMs: last?.offset === offset - 1 ? last.storedMs : 0 })
      }),
    )
    await this.#write(key, Object.fromEntries(noted))
  }

  async forget(key: string): Promise<void> {
    if ((await this.#read(key)).size > 0) await this.#write(key, {})
  }

  async #write(key: string, places: Readonly<Record<string, NotedPlace>>): Promise<void> {
    await this.#cluster.putNote(this.#namespace, key, JSON.stringify(places), this.#what)
  }

  async #read(key: string): Promise<Map<string, NotedPlace>> {
    const note = await this.#cluster.note(this.#namespace, key, this.#what)
    if (note === undefined) return new Map()
    try {
      const found = JSON.parse(note) as Record<string, NotedPlace>
      return new Map(Object.entries(found).filter(([, place]) => Number.isSafeInteger(place?.offset)))
    } catch {
      return new Map()
    }
  }
}
