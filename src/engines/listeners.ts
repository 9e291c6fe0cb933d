interface Listener {
  start(): Promise<void>
  close(): Promise<void>
}

/** Those who listen live over one engine: each until it is closed, all of them until the engine is. */
export class Listeners {
  readonly #open = new Set<Listener>()

  /** Starts it; one that cannot be started is closed. */
  async open(listener: Listener): Promise<{ close(): Promise<void> }> {
    this.#open.add(listener)
    const close = async (): Promise<void> => {
      this.#open.delete(listener)
      await listener.close()
    }
    try {
      await listener.start()
    } catch (error) {
      await close()
      throw error
    }
    return { close }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#open].map((one) => one.close()))
  }
}
