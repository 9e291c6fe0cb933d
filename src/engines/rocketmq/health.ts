import { toBusError } from '../../errors.ts'
import type { EngineHealth } from '../engine.ts'
import type { Broker, Cluster } from './cluster.ts'
import { request } from './protocol.ts'

const everyMs = 250

/** Whether name servers and brokers answer: looked at when a connection breaks, and then until they do. */
export class Health {
  readonly #cluster: Cluster
  readonly #listeners = new Set<(health: EngineHealth) => void>()
  #brokers: readonly Broker[]
  #ok = true
  #looking = false
  #timer: NodeJS.Timeout | undefined
  #ended = false

  constructor(cluster: Cluster, brokers: readonly Broker[]) {
    this.#cluster = cluster
    this.#brokers = brokers
    cluster.pool.onLoss = () => void this.#look()
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
    clearTimeout(this.#timer)
    let trouble: string | undefined
    try {
      // Those that were known before: a name server drops one that was killed from its list, and health would be well.
      const named = await this.#cluster.masters()
      this.#brokers = [...new Map([...this.#brokers, ...named].map((broker) => [broker.name, broker])).values()]
      await Promise.all(
        this.#brokers.map((broker) => this.#cluster.askAny(broker, request.maxOffset, { topic: 'TBW102', queueId: '0' }, broker.name)),
      )
    } catch (error) {
      trouble = `RocketMQ: ${toBusError(error).message}`
    } finally {
      this.#looking = false
    }
    this.#tell(trouble === undefined ? { ok: true, detail: 'connected' } : { ok: false, detail: trouble })
    if (trouble !== undefined && !this.#ended) this.#timer = setTimeout(() => void this.#look(), everyMs).unref()
  }

  #tell(health: EngineHealth): void {
    if (health.ok === this.#ok || this.#ended) return
    this.#ok = health.ok
    for (const listener of [...this.#listeners]) listener(health)
  }
}
