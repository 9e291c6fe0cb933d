import { BusError } from '../errors.ts'
import type { Ledger } from './ledger.ts'

const lettersPrefix = '!letters/'
const pageSize = 1000

/** The place of a message's body: swept once messages of that time are gone. */
export function blobKey(storage: string, at: number, messageId: string): string {
  return `${storage}/${String(at).padStart(16, '0')}/${messageId}`
}

/** The place of a dead letter's body: gone when the letter is. */
export function letterBlobKey(storage: string, group: string, letterId: string): string {
  return `${lettersPrefix}${storage}/${group}/${letterId}`
}

/** Bodies too large for the engine, in the ledger. */
export class Blobs {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.#ledger.write([{ space: 'blobs', key, value: bytes }])
  }

  /** @throws BusError `not_found` when the body is gone */
  async get(key: string): Promise<Uint8Array> {
    const [bytes] = await this.#ledger.read('blobs', [key])
    if (!bytes) throw new BusError('not_found', `the body that was stored aside as '${key}' is gone`)
    return bytes
  }

  async delete(keys: readonly string[]): Promise<void> {
    if (keys.length > 0) await this.#ledger.write(keys.map((key) => ({ space: 'blobs', key, value: undefined })))
  }

  /** Those of messages, not of dead letters, page by page. */
  async *ofMessages(): AsyncGenerator<{ key: string; storage: string; at: number }[]> {
    let after: string | undefined
    for (;;) {
      const page = await this.#ledger.keys('blobs', '', { after, limit: pageSize })
      yield page
        .filter((key) => !key.startsWith(lettersPrefix))
        .map((key) => {
          const [storage = '', at = ''] = key.split('/')
          return { key, storage, at: Number(at) }
        })
      if (page.length < pageSize) return
      after = page.at(-1)!
    }
  }
}
