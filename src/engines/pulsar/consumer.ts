import { BusError, toBusError } from '../../errors.ts'
import { within } from '../../within.ts'
import { Backoff } from '../backoff.ts'
import type { Cluster } from './cluster.ts'
import type { Connection, ConsumerEvents } from './connection.ts'
import { NotServing } from './failure.ts'
import { type Come, decodeEntry, EntryError } from './message.ts'
import { partitionOf } from './names.ts'
import { type Fields, type Long, type MessageId, messageIdOf, wireId } from './protocol.ts'

/** So long a topic may be on its way from one broker to another. */
const moveMs = 10_000
/** For the answer to a goodbye. */
const closeMs = 2000

export const kinds = { exclusive: 0, shared: 1, failover: 2, keyShared: 3 } as const

export interface ConsumerSpec {
  /** A topic, or one partition of it. */
  readonly topic: string
  readonly storage: string
  readonly subscription: string
  readonly kind: (typeof kinds)[keyof typeof kinds]
  readonly name: string
  readonly from: 'earliest' | 'latest'
  /** Failover: of several members the one with the lowest has all. */
  readonly priority?: number
  /** False: the broker keeps no place for it; it goes on behind what came last. */
  readonly durable: boolean
  /** Of one that is not durable: the entry that comes first, or the next one that is still there. */
  readonly start?: MessageId | undefined
}

export interface ConsumerOwner {
  /** An entry that came; `messages` has those of it that the group has not settled. */
  came(consumer: Consumer, id: MessageId, count: number, messages: readonly Come[], redelivered: number): void
  /** It stands, for the first time or again. */
  joined(consumer: Consumer): void
  /** What it had in hand is somebody's, ours too. */
  left(consumer: Consumer): void
  /** Another member has all of it from now on, what is in hand here too. */
  superseded(consumer: Consumer): void
  /** What trying again does not mend by itself; undefined once it is over. */
  troubled(consumer: Consumer, text: string | undefined): void
}

let made = 0

/** One consumer of a subscription, made again wherever its topic is served. */
export class Consumer implements ConsumerEvents {
  readonly spec: ConsumerSpec
  readonly #cluster: Cluster
  readonly #owner: ConsumerOwner
  readonly #id = ++made
  #connection: Connection | undefined
  /** Messages that the broker may still send, by its count; less than none where the last batch was larger than that. */
  permits = 0
  /** Permits that went for what nobody gets here: the broker may send so many more, whatever the credit. */
  spare = 0
  #passive = false
  /** By what it cannot read and may not pass. */
  #blocked = false
  /** Of a consumer that is not durable: the last entry that came. */
  #seen: MessageId | undefined
  #closed = false
  #joining: Promise<void> | undefined
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined

  constructor(cluster: Cluster, spec: ConsumerSpec, owner: ConsumerOwner) {
    this.#cluster = cluster
    this.spec = spec
    this.#owner = owner
  }

  get open(): boolean {
    return this.#connection !== undefined
  }

  /** @throws BusError `conflict`, `not_found`, `unauthorized`, `engine_unavailable` */
  async start(): Promise<void> {
    const until = performance.now() + moveMs
    for (;;) {
      try {
        return await this.#join()
      } catch (error) {
        if (!(error instanceof NotServing) || this.#closed || performance.now() > until) throw error
        await this.#pause(this.#cluster.options.reconnectWaitMs ?? 100)
      }
    }
  }

  #join(): Promise<void> {
    this.#joining = this.#tryToJoin()
    return this.#joining
  }

  async #tryToJoin(): Promise<void> {
    const { topic, subscription, kind, name, priority, from, durable, start } = this.spec
    const place = this.#seen ?? start
    const connection = await this.#cluster.serving(topic)
    if (this.#closed) throw new BusError('closed', 'the subscription is closed')
    connection.consumers.set(this.#id, this)
    this.permits = 0
    this.spare = 0
    this.#passive = false
    this.#blocked = false
    try {
      await connection.ask(
        'subscribe',
        {
          topic: this.#cluster.fullName(topic),
          subscription,
          subType: kind,
          consumer_id: this.#id,
          consumer_name: name,
          ...(priority === undefined ? {} : { priority_level: priority }),
          durable,
          initialPosition: from === 'earliest' ? 1 : 0,
          ...(place ? { start_message_id: wireId(place) } : {}),
          ...(kind === kinds.keyShared ? { keySharedMeta: { keySharedMode: 0 } } : {}),
        },
        `group '${subscription}' on topic '${topic}'`,
      )
    } catch (error) {
      // It may stand there all the same, and keys or the whole topic with it, if nothing was heard in time.
      void this.#leaveBroker(connection)
      throw error
    }
    if (this.#closed) {
      await this.#leaveBroker(connection)
      throw new BusError('closed', 'the subscription is closed')
    }
    if (!connection.open) throw new BusError('engine_unavailable', `topic '${topic}': the connection was lost`)
    this.#connection = connection
    this.#owner.joined(this)
  }

  ended(): void {
    if (this.#connection) {
      this.#connection = undefined
      this.#owner.left(this)
    }
    if (!this.#closed) this.#running ??= this.#again()
  }

  async #again(): Promise<void> {
    const { reconnectWaitMs = 100, reconnectMaxWaitMs = 3000 } = this.#cluster.options
    const tellAt = performance.now() + moveMs
    const backoff = new Backoff({ reconnectWaitMs, reconnectMaxWaitMs })
    while (!this.#closed && !this.#connection) {
      await this.#pause(backoff.next())
      if (this.#closed) break
      try {
        await this.#join()
        this.#owner.troubled(this, undefined)
      } catch (thrown) {
        const error = toBusError(thrown, 'engine_unavailable')
        if (this.#closed) break
        // That a topic is away for a while is no trouble, as long as it is on its way.
        if (error.code !== 'engine_unavailable' || performance.now() > tellAt) this.#owner.troubled(this, error.message)
      }
    }
    this.#running = undefined
    // It may have ended again in between.
    if (!this.#closed && !this.#connection) this.ended()
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  activated(active: boolean): void {
    this.#passive = !active
    if (!active) this.#owner.superseded(this)
  }

  message(fields: Fields, rest: Buffer): void {
    const id = messageIdOf(fields['message_id'])
    // Where the metadata says nothing of partitions the name does.
    const place = id.partition >= 0 ? id : { ...id, partition: partitionOf(this.spec.topic) }
    const codec = this.#connection?.codec
    if (!codec || this.#blocked) return
    if (!this.spec.durable) {
      // Whether a place is that of the first one to come or the one before it is not the same on every broker.
      if (this.#seen && !isAfter(place, this.#seen)) return void this.permits--
      this.#seen = place
    }
    let decoded: ReturnType<typeof decodeEntry>
    try {
      decoded = decodeEntry(codec, rest, place, this.spec.storage)
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
      this.#leave(place, error)
      return
    }
    const words = fields['ack_set'] as readonly Long[] | undefined
    const open = remaining(words)
    // What the group has settled of it, the broker does not count.
    let counted = decoded.count
    if (words && words.length > 0) for (let i = 0; i < decoded.count; i++) if (!open(i)) counted--
    const messages = decoded.messages.filter((one, i): one is Come => one !== undefined && open(i))
    this.permits -= counted
    // What was on its way when another one became active goes to that one too.
    if (this.#passive) return void this.allow(counted)
    this.spare += counted - messages.length
    this.#owner.came(
      this,
      place,
      decoded.count,
      messages,
      Object.hasOwn(fields, 'redelivery_count') ? (fields['redelivery_count'] as number) : 0,
    )
  }

  /** What is broken is so for ever, as the wire has checksums of its own. What somebody else could read has its turn, where turns are kept. */
  #leave({ ledger, entry }: MessageId, { message, count, missing }: EntryError): void {
    this.#owner.troubled(this, `topic '${this.spec.topic}': ${message} at ${ledger}:${entry}; it is left there`)
    this.permits -= count
    if (missing && this.spec.kind !== kinds.shared && this.spec.durable) this.#blocked = true
    else this.allow(count)
  }

  /** The broker may send so many more. */
  allow(messages: number): void {
    if (messages <= 0 || !this.#connection) return
    this.permits += messages
    this.spare = 0
    this.#connection.tell('flow', { consumer_id: this.#id, messagePermits: messages })
  }

  /** @throws BusError `engine_unavailable` */
  async ack(acks: readonly object[]): Promise<void> {
    const connection = this.#connection
    if (!connection) throw new BusError('engine_unavailable', `topic '${this.spec.topic}': its broker is away`)
    await connection.ask('ack', { consumer_id: this.#id, ack_type: 0, message_id: acks }, `topic '${this.spec.topic}'`)
  }

  /** Says so and awaits nothing: of what needs no answer. */
  tellAck(acks: readonly object[]): void {
    if (acks.length > 0) this.#connection?.tell('ack', { consumer_id: this.#id, ack_type: 0, message_id: acks })
  }

  redeliver(ids: readonly MessageId[]): void {
    if (ids.length > 0) this.#connection?.tell('redeliver', { consumer_id: this.#id, message_ids: ids.map(wireId) })
  }

  async seek(to: object): Promise<void> {
    await this.#connection?.ask('seek', { consumer_id: this.#id, ...to }, `topic '${this.spec.topic}'`)
  }

  /** What is not settled goes to others. A broker that does not answer is not waited for. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#wake?.()
    const connection = this.#connection
    this.#connection = undefined
    // One that is just joining leaves by itself.
    if (connection) await this.#leaveBroker(connection)
    else if (this.#joining)
      await within(
        closeMs,
        this.#joining.catch(() => {}),
      )
  }

  async #leaveBroker(connection: Connection): Promise<void> {
    connection.consumers.delete(this.#id)
    await within(
      closeMs,
      connection.ask('closeConsumer', { producer_id: this.#id }, 'a consumer').catch(() => {}),
    )
  }
}

const isAfter = (one: MessageId, other: MessageId): boolean => (one.ledger - other.ledger || one.entry - other.entry) > 0

/** A bit for each message of a batch that the group has not settled; nothing: none is. */
function remaining(words: readonly Long[] | undefined): (i: number) => boolean {
  if (!words || words.length === 0) return () => true
  return (i) => {
    const word = words[i >> 6]
    return word !== undefined && (((i & 32 ? word.high : word.low) >>> (i & 31)) & 1) === 1
  }
}
