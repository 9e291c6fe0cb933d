import type { EngineHealth } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import type { Pool } from './connection.ts'

const againMs = 300

/** Whether any broker answers; asked again after a loss until one does. */
export class Health {
  readonly #cluster: Cluster
  readonly #listeners = new Set<(health: EngineHealth) => void>()
  #ok = true
  #asking = false

  constructor(cluster: Cluster, pool: Pool) {
    this.#cluster = cluster
    pool.onLoss = (name) => {
      this.#tell(false, `the connection to ${name} was lost`)
      void this.#ask()
    }
  }

  listen(listener: (health: EngineHealth) => void): () => void {
    const own = (health: EngineHealth): void => listener(health)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  async #ask(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    while (!this.#cluster.closed) {
      try {
        await this.#cluster.answers()
        this.#tell(true, 'connected')
        break
      } catch (error) {
        this.#tell(false, (error as Error).message)
        await new Promise((resolve) => setTimeout(resolve, againMs).unref())
      }
    }
    this.#asking = false
  }

  #tell(ok: boolean, detail: string): void {
    if (ok === this.#ok && ok) return
    this.#ok = ok
    for (const listener of this.#listeners) listener({ ok, detail })
  }
}
