import { isPrivate } from '../../topic/name.ts'
import type { Cluster } from './cluster.ts'
import { hash, lettersOf, type Names, nameOf } from './names.ts'
import { statsOf } from './stats.ts'

/** A topic without messages, whose channels are what is written down: nsqd keeps channels over restarts, and lists them. */
export const recordTopic = '_cozebus.names'
const pieceLength = 40
const patienceMs = 2000
const mostAsked = 10_000

/**
 * Names too long for NSQ, for processes that have not made them: each is the channels `<hash>.<place>.<piece>` of one topic.
 * Best effort: where the HTTP side cannot be reached, others see the shortened name.
 */
export class NameRecord {
  readonly #cluster: Cluster
  readonly #names: Names
  readonly #askedAt = new Map<string, number>()

  constructor(cluster: Cluster, names: Names) {
    this.#cluster = cluster
    this.#names = names
    // A private topic's name is made of two others.
    names.onShortened = (name) => {
      if (!isPrivate(name)) void this.#write(name).catch(() => {})
    }
  }

  /** Resolves once those of the given names that somebody wrote down are known. */
  async know(physicals: Iterable<string>): Promise<void> {
    const now = performance.now()
    let look = false
    for (const physical of physicals) {
      if (!this.#names.isUnknown(physical)) continue
      // One that nobody wrote down is not asked for at each look.
      const askedAt = this.#askedAt.get(physical)
      if (askedAt !== undefined && now - askedAt < patienceMs) continue
      if (this.#askedAt.size >= mostAsked) this.#askedAt.clear()
      this.#askedAt.set(physical, now)
      look = true
    }
    if (look) await this.#learn()
  }

  async #write(name: string): Promise<void> {
    const letters = lettersOf(name)
    const topic = encodeURIComponent(recordTopic)
    for (const nsqd of this.#cluster.askable) {
      await nsqd.ask('POST', `/topic/create?topic=${topic}`)
      for (let place = 0; place * pieceLength < letters.length; place++) {
        const piece = letters.slice(place * pieceLength, (place + 1) * pieceLength)
        await nsqd.ask('POST', `/channel/create?topic=${topic}&channel=${encodeURIComponent(`${hash(name)}.${place}.${piece}`)}`)
      }
    }
  }

  async #learn(): Promise<void> {
    const pieces = new Map<string, string[]>()
    for (const { topics } of await statsOf(this.#cluster, recordTopic))
      for (const { channels } of topics)
        for (const { channel_name } of channels) {
          const [, key, place, piece] = /^([0-9a-f]{16})\.(\d+)\.(.+)$/.exec(channel_name) ?? []
          if (key === undefined) continue
          const found = pieces.get(key) ?? []
          found[Number(place)] = piece!
          pieces.set(key, found)
        }
    for (const [key, found] of pieces) {
      const name = nameOf(found.join(''))
      // One whose pieces are not all there yet is none.
      if (hash(name) === key) this.#names.learn(name)
    }
  }
}
