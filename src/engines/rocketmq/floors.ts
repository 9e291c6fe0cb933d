import { BusError } from '../../errors.ts'
import { inTime } from '../../within.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import { NotedPlaces } from './noted-places.ts'
import { findOffsets } from './offsets.ts'

/** For what is looked for again and again: name servers that stand still hold up nobody. */
const patienceMs = 1000

/**
 * RocketMQ deletes by age alone, a whole file of its log at a time. What was purged is hidden here: it is noted where each
 * queue begins since, nothing before it is read, and no group begins before it.
 */
export class Floors {
  readonly #cluster: Cluster
  readonly #noted: NotedPlaces

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.#noted = new NotedPlaces(cluster, 'cozebus-purged', 'what was purged')
  }

  /** Where each of the queues begins: what is stored, and not purged. */
  async starts({ topic, readable }: Route): Promise<number[]> {
    const stored = await findOffsets(this.#cluster, topic, readable, 'start')
    return (await this.#noted.of(topic, topic, readable, stored)).map((floor, i) => floor ?? stored[i]!)
  }

  /** Up to where each of the queues was purged that is read from such a place on; the place, where it lies beyond that. @throws BusError after a second */
  async beyond(topic: string, queues: readonly Queue[], places: readonly number[]): Promise<number[]> {
    const late = (): BusError =>
      new BusError('engine_unavailable', `no name server told within ${patienceMs} ms what was purged of '${topic}'`)
    return (await inTime(patienceMs, this.#noted.of(topic, topic, queues, places), late)).map((floor, i) => floor ?? places[i]!)
  }

  async raise({ topic, readable }: Route, places: readonly number[], starts: readonly number[]): Promise<void> {
    const raised = readable.filter((_, i) => places[i]! > starts[i]!)
    await this.#noted.note(
      topic,
      topic,
      raised,
      places.filter((place, i) => place > starts[i]!),
    )
  }
}
