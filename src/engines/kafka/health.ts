import type { EngineHealth } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { kafkaError } from './failure.ts'

const everyMs = 250

/** Whether the brokers answer: looked at when a connection breaks, and then until they do. */
export class Health {
  readonly #cluster: Cluster
  readonly #listeners = new Set<(health: EngineHealth) => void>()
  #ok = true
  #looking = false
  #timer: NodeJS.Timeout | undefined
  #ended = false

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    cluster.onLoss = () => void this.#look()
  }

  on(listener: (health: EngineHealth) => void): () => void {
    const own = (health: EngineHealth): void => listener(health)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
    this.#listeners.clear()
  }

  async #look(): Promise<void> {
    if (this.#looking || this.#ended) return
    this.#looking = true
    // Each loss would begin a row of looks of its own.
    clearTimeout(this.#timer)
    try {
      await this.#cluster.refresh([], 0)
      this.#tell({ ok: true, detail: 'connected' })
    } catch (error) {
      this.#tell({ ok: false, detail: kafkaError(error, 'no broker answers').message })
      if (!this.#ended) this.#timer = setTimeout(() => void this.#look(), everyMs).unref()
    } finally {
      this.#looking = false
    }
  }

  #tell(health: EngineHealth): void {
    if (health.ok === this.#ok || this.#ended) return
    this.#ok = health.ok
    for (const listener of [...this.#listeners]) listener(health)
  }
}
