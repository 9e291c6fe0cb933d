// A broker of one topic in this process, that does what is asked of it and no more: for what a real one does at rare moments only.
import { onTestFinished } from 'vitest'
import type { Delivery, DeliverySink, SubscriptionSpec } from '../../src/engines/engine.ts'
import { loadLibraries } from '../../src/engines/pulsar/client.ts'
import type { Cluster } from '../../src/engines/pulsar/cluster.ts'
import type { Connection, ConsumerEvents, ProducerEvents } from '../../src/engines/pulsar/connection.ts'
import { encodeMessage } from '../../src/engines/pulsar/message.ts'
import type { PulsarOptions } from '../../src/engines/pulsar/options.ts'
import { Codec, type Fields, numberOf } from '../../src/engines/pulsar/protocol.ts'
import { PulsarSubscription } from '../../src/engines/pulsar/subscription.ts'
import type { Topics } from '../../src/engines/pulsar/topics.ts'
import { wire } from '../../src/message/wire.ts'

export const codec = new Codec(await loadLibraries())

export interface Kept {
  /** What stands behind the command. */
  readonly rest: Buffer
  /** Messages of it, as the broker counts permits. */
  readonly count: number
}

/** An entry of one message, as a producer of ours sends it. */
export function entry(body: unknown, dueInMs?: number): Kept {
  const { metadata, payload } = encodeMessage(
    {
      storage: 't',
      name: 't',
      id: `id-${JSON.stringify(body)}`,
      key: undefined,
      headers: undefined,
      body: Buffer.from(JSON.stringify(body)),
      at: Date.now(),
      deliverAt: dueInMs === undefined ? undefined : Date.now() + dueInMs,
    },
    'none',
  )
  const bytes = codec.encodeMetadata({ ...metadata, producer_name: 'p', sequence_id: 1 })
  const frame = Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, bytes, payload))
  return { rest: codec.decode(frame.subarray(4))!.rest, count: 1 }
}

/** An entry of many, as Go and Java send them. */
export function batch(bodies: readonly unknown[], more: object = {}): Kept {
  const parts = bodies.flatMap((body) => {
    const payload = Buffer.from(JSON.stringify(body))
    // SingleMessageMetadata: payload_size = 3.
    return [Buffer.from([0, 0, 0, 2, 0x18, payload.length]), payload]
  })
  const metadata = { producer_name: 'go', sequence_id: 1, publish_time: 7, num_messages_in_batch: bodies.length, ...more }
  const frame = Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, codec.encodeMetadata(metadata), Buffer.concat(parts)))
  return { rest: codec.decode(frame.subarray(4))!.rest, count: bodies.length }
}

/** Keeps nothing of acknowledgements: each consumer that joins begins at the first entry, as after a kill. */
export class FakeBroker {
  readonly log: Kept[] = []
  /** Commands of clients, in their order. */
  readonly told: { readonly command: string; readonly fields: Fields }[] = []
  readonly options: PulsarOptions = { reconnectWaitMs: 10, reconnectMaxWaitMs: 20, returnMs: 500 }
  /** Answers a request, if it is not to succeed. */
  onAsk: (command: string, fields: Fields) => Promise<Fields> | undefined = () => undefined
  /** What becomes of a message; stored, where nothing else is said. */
  onSend: (body: string, send: { readonly sequence: number; readonly producer: ProducerEvents }) => 'stored' | 'said' = () => 'stored'
  /** In the order of storing. */
  readonly stored: string[] = []
  connection = this.#connect()
  #at = 0
  #permits = 0
  #consumer = 0

  #connect(): Connection {
    const connection = {
      open: true,
      codec,
      name: 'fake',
      maxMessageBytes: 1_000_000,
      unsent: 0,
      consumers: new Map<number, ConsumerEvents>(),
      producers: new Map<number, ProducerEvents>(),
      tell: (command: string, fields: Fields) => {
        this.told.push({ command, fields })
        if (command !== 'flow' || numberOf(fields['consumer_id']) !== this.#consumer) return
        this.#permits += fields['messagePermits'] as number
        this.pump()
      },
      write: (...parts: readonly Uint8Array[]) => {
        const { fields, rest } = codec.decode(Buffer.concat(parts).subarray(4))!
        const sequence = numberOf(fields['sequence_id'])
        const producer = connection.producers.get(numberOf(fields['producer_id']))!
        const body = codec.decodeMessage(rest).payload.toString()
        setImmediate(() => {
          if (this.onSend(body, { sequence, producer }) !== 'stored') return
          this.stored.push(body)
          producer.receipt(sequence, { ledgerId: 1, entryId: this.stored.length })
        })
      },
      ask: async (command: string, fields: Fields) => {
        this.told.push({ command, fields })
        const answer = this.onAsk(command, fields)
        if (answer) return answer
        if (command === 'subscribe') {
          this.#consumer = fields['consumer_id'] as number
          this.#at = 0
          this.#permits = 0
        }
        return {}
      },
    }
    return connection as unknown as Connection
  }

  /** As much as it may. */
  pump(): void {
    setImmediate(() => {
      while (this.#permits > 0 && this.#at < this.log.length) {
        const at = this.#at++
        const { rest, count } = this.log[at]!
        this.#permits -= count
        const id = { ledgerId: 1, entryId: at }
        this.connection.consumers.get(this.#consumer)?.message({ consumer_id: this.#consumer, message_id: id }, rest)
      }
    })
  }

  /** Its connections end; it is there again at once. */
  restart(): void {
    const { consumers, producers } = this.connection
    ;(this.connection as { open: boolean }).open = false
    this.connection = this.#connect()
    for (const one of [...consumers.values(), ...producers.values()]) one.ended()
  }

  get cluster(): Cluster {
    return {
      options: this.options,
      fullName: (topic: string) => `persistent://public/default/${topic}`,
      serving: async () => this.connection,
    } as unknown as Cluster
  }

  /** A member of a group that acknowledges at once, as long as `works`, and has room for so many messages at a time. */
  async join(spec: Partial<SubscriptionSpec> = {}, credit = 8): Promise<Member> {
    const topics = { ensure: async () => ['t'], beginning: async () => undefined, again: async () => ['t'] } as unknown as Topics
    const member: Member = { bodies: [], lost: [], works: () => true, subscription: undefined as unknown as PulsarSubscription }
    const sink: DeliverySink = {
      deliver: (batch) => {
        for (const { body, headers } of batch) member.bodies.push(headers?.[wire.unreadable] ?? JSON.parse(Buffer.from(body).toString()))
        const done = batch.filter(member.works)
        if (done.length === 0) return
        void member.subscription
          .settle(done.map((delivery) => ({ kind: 'ack' as const, delivery })))
          .then(() => member.subscription.grant(done.length, 1024 * done.length))
      },
      lost: (deliveries) => void member.lost.push(...deliveries),
      assigned: () => {},
      leaving: () => {},
      revoked: () => {},
      warned: () => {},
    }
    const source = { storage: 't', filter: undefined, lanes: 't', from: 'earliest' as const }
    const whole: SubscriptionSpec = {
      group: 'g',
      sources: [source],
      order: 'none',
      orderScope: 'group',
      leaseMs: 30_000,
      member: 'm',
      ...spec,
    }
    member.subscription = new PulsarSubscription({ cluster: this.cluster, topics, onClose: () => {} }, whole, sink)
    onTestFinished(() => member.subscription.close())
    await member.subscription.start()
    member.subscription.grant(credit, 1024 * credit)
    return member
  }
}

export interface Member {
  readonly bodies: unknown[]
  readonly lost: Delivery[]
  works: (delivery: Delivery) => boolean
  subscription: PulsarSubscription
}
