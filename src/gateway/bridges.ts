import type { StoredTopics } from '../admin/stored-topics.ts'
import type { Bus } from '../bus.ts'
import { Bridge } from './bridge.ts'

/** The bridges of one gateway: one for each topic and group that is pulled. */
export class Bridges {
  readonly #bus: Bus
  readonly #stored: StoredTopics
  readonly #open = new Map<string, Bridge>()

  constructor(bus: Bus, stored: StoredTopics) {
    this.#bus = bus
    this.#stored = stored
  }

  at(topic: string, group: string): Bridge {
    const name = `${topic}\n${group}`
    let bridge = this.#open.get(name)
    if (!bridge) {
      const made: Bridge = new Bridge(
        this.#bus,
        () => this.#stored.place(topic),
        group,
        () => {
          if (this.#open.get(name) === made) this.#open.delete(name)
        },
      )
      bridge = made
      this.#open.set(name, bridge)
    }
    return bridge
  }

  find(topic: string, group: string): Bridge | undefined {
    return this.#open.get(`${topic}\n${group}`)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((bridge) => bridge.close()))
  }
}
