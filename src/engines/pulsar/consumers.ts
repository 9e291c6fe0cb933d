import { BusError } from '../../errors.ts'
import type { Source, SubscriptionSpec } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { Consumer, type ConsumerOwner, kinds } from './consumer.ts'
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
  #lookedForMoreAt = performance.now()
  #looking = false
  #closed = false

  constructor(parts: ConsumersParts) {
    this.#parts = parts
  }

  get open(): boolean {
    return this.#all.some(({ open }) => open)
  }

  /** Joins the group there. @throws BusError as the broker refuses it */
  async add(source: Source): Promise<void> {
    const { topics, spec } = this.#parts
    const parts = await topics.ensure(source.storage)
    const from = await topics.beginning(source, spec.group)
    const made: Consumer[] = []
    try {
      for (const topic of parts) {
        const consumer = this.#make(topic, source)
        made.push(consumer)
        await consumer.start()
        if (from !== undefined) await consumer.seek({ message_publish_time: from })
      }
    } catch (error) {
      await Promise.all(made.map((one) => one.close()))
      throw error
    }
    if (this.#closed) {
      await Promise.all(made.map((one) => one.close()))
      throw new BusError('closed', 'the subscription is closed')
    }
    this.#sources.set(source.storage, { source, partitions: parts.length })
    this.#all.push(...made)
  }

  #make(topic: string, { storage, from }: Source): Consumer {
    const { cluster, spec, owner } = this.#parts
    const kind = spec.order === 'key' ? kinds.keyShared : spec.order === 'topic' ? kinds.failover : kinds.shared
    const begin = from === 'new' ? 'latest' : 'earliest'
    return new Consumer(cluster, { topic, storage, subscription: spec.group, kind, name: spec.member, from: begin, durable: true }, owner)
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
