import type { Ledger } from './ledger.ts'

/** Which groups are paused, in the ledger, so that every member sees it on every engine. */
export class Pauses {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  async set(storage: string, group: string, paused: boolean): Promise<void> {
    await this.#ledger.write([{ space: 'pauses', key: `${storage}/${group}`, value: paused ? Buffer.from(String(Date.now())) : undefined }])
  }

  async has(storage: string, group: string): Promise<boolean> {
    return (await this.#ledger.read('pauses', [`${storage}/${group}`]))[0] !== undefined
  }

  /** Tells the state now and at each change. */
  watch(storage: string, group: string, listener: (paused: boolean) => void): () => void {
    const key = `${storage}/${group}`
    const tell = (): void => {
      this.has(storage, group).then(listener, () => {})
    }
    tell()
    return this.#ledger.watch('pauses', key, (changed) => {
      if (changed === key) tell()
    })
  }
}
