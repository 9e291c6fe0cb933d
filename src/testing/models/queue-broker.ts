import type { Engine, Outgoing, PublishOutcome, Source, StorageName } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { TopicWatch } from './connection.ts'
import { foreignMessage, type ModelBroker, maxMessageBytes, reconnectMs, sessionMs } from './model.ts'
import type { QueueEngine } from './queue.ts'
import { Channel, type QueueMessage } from './queue-channel.ts'
import { maxDelayMs } from './queue-member.ts'
import { innermost } from './wrapping.ts'

export interface QueueTopic {
  readonly storage: StorageName
  readonly channels: Map<string, Channel>
  /** What came while there was no channel at all; the first one gets it. */
  backlog: { readonly message: QueueMessage; readonly readyAt: number }[]
}

/** The server side of the queue model. */
export class QueueBroker implements ModelBroker {
  readonly topics = new Map<StorageName, QueueTopic>()
  readonly engines = new Set<QueueEngine>()
  readonly watch = new TopicWatch()
  readonly maxLeaseMs: number
  readonly #make: (broker: QueueBroker) => QueueEngine
  readonly #everStored = new Map<StorageName, number>()
  #lastId = 0
  #reachable = true
  #timer: NodeJS.Timeout | undefined

  constructor(maxLeaseMs: number, make: (broker: QueueBroker) => QueueEngine) {
    this.maxLeaseMs = maxLeaseMs
    this.#make = make
  }

  // ── for tests ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async connect(): Promise<Engine> {
    if (!this.#reachable) throw new BusError('engine_unavailable', 'the broker is not reachable; try again')
    const engine = this.#make(this)
    this.engines.add(engine)
    return engine
  }

  restart(): void {
    this.#cut('the broker restarts')
    clearTimeout(this.#timer)
    if (this.#reachable) this.#timer = setTimeout(() => this.#reconnect(), reconnectMs).unref()
  }

  /** What it had stays in its hand until the leases run out, as after a power cut. */
  crash(engine: Engine): void {
    const gone = innermost(engine) as QueueEngine
    if (!this.engines.delete(gone)) return
    gone.die()
    setTimeout(() => {
      for (const member of gone.members) member.leave()
    }, sessionMs).unref()
  }

  down(): void {
    this.#reachable = false
    clearTimeout(this.#timer)
    this.#cut('the broker is not reachable')
  }

  up(): void {
    this.#reachable = true
    clearTimeout(this.#timer)
    this.#reconnect()
  }

  foreign(storage: StorageName, name: string, bytes: Uint8Array): void {
    this.store(foreignMessage(storage, name, bytes))
  }

  stored(storage: StorageName): number {
    return this.#everStored.get(storage) ?? 0
  }

  // ── for its engines ───────────────────────────────────────────────────────────────────────────────────────────────

  store({ storage, body, deliverAt }: Outgoing): PublishOutcome {
    if (body.byteLength > maxMessageBytes)
      return { ok: false, error: new BusError('message_too_large', `${body.byteLength} bytes; queue-model takes ${maxMessageBytes}`) }
    const at = Date.now()
    const readyAt = deliverAt ?? at
    if (readyAt - at > maxDelayMs)
      return {
        ok: false,
        error: new BusError('unsupported', `queue-model delays by ${maxDelayMs} ms at most; schedule through the ledger`),
      }
    const topic = this.topic(storage)
    const message = { id: (++this.#lastId).toString(16).padStart(16, '0'), body: new Uint8Array(body), at }
    if (topic.channels.size === 0) topic.backlog.push({ message, readyAt })
    for (const channel of topic.channels.values()) channel.put(message, readyAt)
    this.#everStored.set(storage, this.stored(storage) + 1)
    return { ok: true, position: undefined, duplicate: false }
  }

  topic(storage: StorageName): QueueTopic {
    let topic = this.topics.get(storage)
    if (!topic) {
      topic = { storage, channels: new Map(), backlog: [] }
      this.topics.set(storage, topic)
      this.watch.appeared(storage)
    }
    return topic
  }

  /** @throws BusError `not_found` */
  existing(storage: StorageName): QueueTopic {
    const topic = this.topics.get(storage)
    if (!topic) throw new BusError('not_found', `no topic '${storage}'`)
    return topic
  }

  channel(storage: StorageName, group: string, from: Source['from']): Channel {
    const topic = this.topic(storage)
    let channel = topic.channels.get(group)
    if (!channel) {
      channel = new Channel(group, storage, this.maxLeaseMs)
      topic.channels.set(group, channel)
      const since = from === 'earliest' ? 0 : from === 'new' ? Infinity : from.timeMs
      for (const { message, readyAt } of topic.backlog.splice(0)) if (message.at >= since) channel.put(message, readyAt)
    }
    return channel
  }

  #cut(detail: string): void {
    for (const { connection } of this.engines) connection.cut(detail)
    for (const { members } of this.engines) for (const member of members) member.cut()
  }

  #reconnect(): void {
    for (const engine of [...this.engines]) {
      engine.connection.heal()
      engine.rejoin()
    }
  }
}
