import { BusError } from '../../errors.ts'
import type { Source, SubscriptionSpec } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { Consumer, type ConsumerOwner, type ConsumerSpec, kinds } from './consumer.ts'
import type { Topics } from './topics.ts'

/** Topics may get more partitions. */
const partitionsMs = 30_000

export interface ConsumersParts {
  readonly cluster: Cluster
  readonly topics: Topics
  readonly spec: SubscriptionSpec
  readonly owner: ConsumerOwner
}

/** What a member of a group reads by: a consumer for each topic, or each partition of it. */
export class Consumers {
  readonly #parts: ConsumersParts
  readonly #all: Consumer[] = []
  readonly #sources = new Map<string, { readonly source: Source; partitions: number }>()
  readonly #troubles = new Map<Consumer | Source, string>()
  /** Whoever came first goes before, so that who joins takes nothing out of anybody's hands. Begins anew every 248 days: then it may. */
  readonly #priority = Math.floor(Date.now() / 10) % 2 ** 31
  #lookedForMoreAt = performance.now()
  #looking = false
  #closed = false

  constructor(parts: ConsumersParts) {
    this.#parts = parts
  }

  get open(): boolean {
    return this.#all.some(({ open }) => open)
  }

  get trouble(): string | undefined {
    const [first] = this.#troubles.values()
    return first
  }

  troubled(what: Consumer | Source, text: string | undefined): void {
    if (text === undefined) this.#troubles.delete(what)
    else this.#troubles.set(what, text)
  }

  /** Joins the group there. @throws BusError as the broker refuses it */
  async add(source: Source): Promise<void> {
    const { topics, spec } = this.#parts
    const parts = await topics.ensure(source.storage)
    this.#mustKeepOrder(source, parts.length)
    const from = await topics.beginning(source, spec.group)
    const made: Consumer[] = []
    try {
      for (const topic of parts) {
        const consumer = this.#make(topic, source)
        made.push(consumer)
        await consumer.start()
        if (from !== undefined) await consumer.seek({ message_publish_time: from })
      }
      if (this.#closed) throw new BusError('closed', 'the subscription is closed')
    } catch (error) {
      await Promise.all(made.map((one) => one.close()))
      throw error
    }
    this.#sources.set(source.storage, { source, partitions: parts.length })
    this.#all.push(...made)
  }

  /** Each partition has an active consumer of its own, and none knows of the others. @throws BusError `unsupported` */
  #mustKeepOrder({ storage }: Source, partitions: number): void {
    const { order, orderScope } = this.#parts.spec
    if (order !== 'topic' || orderScope !== 'group' || partitions < 2) return
    throw new BusError(
      'unsupported',
      `topic '${storage}' has ${partitions} partitions, over which Pulsar keeps no order: use order: 'key', a topic without partitions, or orderScope: 'process' and one member`,
    )
  }

  #make(topic: string, { storage, from }: Source): Consumer {
    const { cluster, spec, owner } = this.#parts
    const kind = kindOf(spec)
    return new Consumer(
      cluster,
      {
        topic,
        storage,
        subscription: spec.group,
        kind,
        name: spec.member,
        // Where all share, it would be served first and others what it leaves.
        ...(kind === kinds.failover ? { priority: this.#priority } : {}),
        from: from === 'new' ? 'latest' : 'earliest',
        durable: true,
      },
      owner,
    )
  }

  /** Lets the broker send what there is credit for, shared among the consumers. What it was once allowed cannot be taken back. */
  allow(credit: number): void {
    const share = this.#all.length === 0 ? 0 : Math.ceil(Math.max(0, credit) / this.#all.length)
    for (const consumer of this.#all) {
      const { permits, spare } = consumer
      const have = permits + spare
      // Not at each message.
      consumer.allow(spare + (have * 2 < share ? share - have : 0))
    }
  }

  /** Now and then, for partitions that were added. */
  look(now: number): void {
    if (now - this.#lookedForMoreAt < partitionsMs || this.#looking) return
    this.#lookedForMoreAt = now
    this.#looking = true
    void this.#lookForMore()
      .catch(() => {})
      .finally(() => {
        this.#looking = false
      })
  }

  async #lookForMore(): Promise<void> {
    for (const one of this.#sources.values()) {
      const parts = await this.#parts.topics.again(one.source.storage)
      try {
        this.#mustKeepOrder(one.source, parts.length)
      } catch (error) {
        this.troubled(one.source, (error as BusError).message)
        continue
      }
      for (const topic of parts.slice(one.partitions)) {
        if (this.#closed) return
        // Nothing of it has been read.
        const consumer = this.#make(topic, { ...one.source, from: 'earliest' })
        try {
          await consumer.start()
        } catch (error) {
          await consumer.close()
          throw error
        }
        if (this.#closed) return void (await consumer.close())
        this.#all.push(consumer)
        one.partitions++
        this.#parts.owner.joined(consumer)
      }
    }
  }

  /** Whatever a consumer had that is closed goes to others. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#all.map((consumer) => consumer.close()))
  }
}

/** How members share a group; within one process order is the core's. */
function kindOf({ order, orderScope }: SubscriptionSpec): ConsumerSpec['kind'] {
  if (order === 'none' || orderScope === 'process') return kinds.shared
  return order === 'key' ? kinds.keyShared : kinds.failover
}
