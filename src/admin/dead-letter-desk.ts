import type { Engine, Outgoing } from '../engines/engine.ts'
import { Blobs } from '../ledger/blobs.ts'
import { type DeadLetter, DeadLetters } from '../ledger/dead-letters.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { wire } from '../message/wire.ts'
import { checkIn } from '../publish/claim-check.ts'
import { seal } from '../publish/encode.ts'
import { privateTopic } from '../topic/name.ts'
import { matcher } from '../topic/pattern.ts'

/** Which dead letters: all that fit every condition given. */
export interface DeadLetterFilter {
  /** A name or pattern over full topic names. */
  readonly topic?: string
  readonly key?: string
  /** A text that the error holds. */
  readonly error?: string
  readonly since?: Date
  readonly until?: Date
}

/** A dead letter with its body decoded where it is JSON. */
export interface DeadLetterView extends DeadLetter {
  readonly body: unknown
}

const pageSize = 100

/** The dead letters of one group: look, replay, discard, export. */
export class DeadLetterDesk {
  readonly #engine: Engine
  readonly #shelf: DeadLetters
  readonly #blobs: Blobs
  readonly #storage: string
  readonly #group: string

  constructor(engine: Engine, ledger: Ledger, storage: string, group: string) {
    this.#engine = engine
    this.#storage = storage
    this.#group = group
    this.#shelf = new DeadLetters(ledger, storage, group)
    this.#blobs = new Blobs(ledger)
  }

  async list(page: { limit?: number; after?: string } = {}): Promise<DeadLetterView[]> {
    return (await this.#shelf.list(page)).map(view)
  }

  async get(id: string): Promise<DeadLetterView> {
    return view(await this.#shelf.get(id))
  }

  count(): Promise<number> {
    return this.#shelf.count()
  }

  /** Gives them to this group again, and to no other. Resolves to how many were sent; each leaves the shelf once it is stored. */
  async replay(which: readonly string[] | DeadLetterFilter, onProgress?: (done: number) => void): Promise<number> {
    let done = 0
    for await (const letters of this.#pages(which)) {
      const outcomes = await this.#engine.publish(await Promise.all(letters.map((letter) => this.#outgoing(letter))))
      const sent = letters.filter((_, i) => outcomes[i]!.ok)
      await this.#shelf.discard(sent.map((letter) => letter.id))
      done += sent.length
      onProgress?.(done)
      const failed = outcomes.find((outcome) => !outcome.ok)
      if (failed && !failed.ok) throw failed.error
    }
    return done
  }

  /** Deletes them. Resolves to how many there were. */
  async discard(which: readonly string[] | DeadLetterFilter, onProgress?: (done: number) => void): Promise<number> {
    let done = 0
    for await (const letters of this.#pages(which)) {
      done += await this.#shelf.discard(letters.map((letter) => letter.id))
      onProgress?.(done)
    }
    return done
  }

  /** Those that `replay` or `discard` would take, one by one; a body that is stored aside is not fetched. */
  async *find(which: readonly string[] | DeadLetterFilter): AsyncGenerator<DeadLetterView> {
    for await (const letters of this.#pages(which)) for (const letter of letters) yield view(letter)
  }

  /** All of them, one by one. */
  async *export(): AsyncGenerator<DeadLetterView> {
    for await (const letters of this.#pages({})) for (const letter of letters) yield view(await this.#shelf.whole(letter))
  }

  async *#pages(which: readonly string[] | DeadLetterFilter): AsyncGenerator<DeadLetter[]> {
    if (Array.isArray(which)) {
      // An id that is given twice is one letter all the same.
      const ids = [...new Set(which as readonly string[])]
      for (let i = 0; i < ids.length; i += pageSize) yield await Promise.all(ids.slice(i, i + pageSize).map((id) => this.#shelf.get(id)))
      return
    }
    const fits = filterOf(which as DeadLetterFilter)
    let after: string | undefined
    for (;;) {
      const page = await this.#shelf.list(after === undefined ? { limit: pageSize } : { limit: pageSize, after })
      const chosen = page.filter(fits)
      if (chosen.length > 0) yield chosen
      if (page.length < pageSize) return
      after = page.at(-1)!.id
    }
  }

  /**
   * A message of the group's private topic: an id of its own for the transport, the message's own inside. The id is that of
   * this failure: a crash between publish and discard sends the same again, a later failure is another.
   */
  async #outgoing(letter: DeadLetter): Promise<Outgoing> {
    const storage = privateTopic(this.#storage, this.#group)
    const id = `${letter.id}-${letter.replays + 1}-${letter.lastFailure.getTime()}`
    const headers = {
      ...letter.headers,
      [wire.id]: letter.messageId,
      [wire.topic]: letter.topic,
      [wire.publishedAt]: String(letter.publishedAt.getTime()),
      [wire.replays]: String(letter.replays + 1),
    }
    const message = { storage, name: storage, id, key: letter.key, headers, body: letter.bytes, at: Date.now(), deliverAt: undefined }
    // The letter's copy goes with the letter: the message takes one along.
    const ready =
      letter.headers[wire.blob] === undefined
        ? message
        : await checkIn({ ...message, body: (await this.#shelf.whole(letter)).bytes }, this.#blobs)
    return seal(ready, this.#engine.capabilities)
  }
}

function filterOf(filter: DeadLetterFilter): (letter: DeadLetter) => boolean {
  const named = filter.topic === undefined ? undefined : matcher(filter.topic)
  return (letter) =>
    (named?.(letter.topic) ?? true) &&
    (filter.key === undefined || letter.key === filter.key) &&
    (filter.error === undefined || letter.error.includes(filter.error)) &&
    (filter.since === undefined || letter.lastFailure >= filter.since) &&
    (filter.until === undefined || letter.lastFailure <= filter.until)
}

function view(letter: DeadLetter): DeadLetterView {
  let body: unknown = letter.bytes
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(letter.bytes))
  } catch {
    // Not JSON: the bytes are the body.
  }
  return { ...letter, body }
}
