/** Wakes one waiter. A ring while nobody waits is kept, so that none is lost between a look and the wait after it. */
export class Bell {
  #rung = false
  #wake: (() => void) | undefined

  ring = (): void => {
    this.#rung = true
    this.#wake?.()
  }

  /** Before a look: rings from here on count. */
  clear(): void {
    this.#rung = false
  }

  wait(ms: number): Promise<void> {
    if (this.#rung) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), ms)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
    })
  }
}
