import type { Broker } from './cluster.ts'
import type { Pool } from './connection.ts'
import type { PopDelivery } from './delivery.ts'
import { refused, unavailable } from './failure.ts'
import { answer, type Fields, request } from './protocol.ts'

/** What is said of messages that were popped. A broker takes every receipt, and never tells that one is too old. */
export class Receipts {
  readonly #pool: Pool

  constructor(pool: Pool) {
    this.#pool = pool
  }

  /** All on one broker. @throws BusError `engine_unavailable`, `forbidden` */
  async acknowledge(broker: Broker, deliveries: readonly PopDelivery[]): Promise<void> {
    if (deliveries.length === 1) {
      await this.#ask(broker, request.ack, fieldsOf(deliveries[0]!))
      return
    }
    const body = Buffer.from(JSON.stringify({ brokerName: broker.name, acks: entriesOf(deliveries) }))
    await this.#ask(broker, request.ackBatch, {}, body)
  }

  /** From now on for so long; the receipt is another one then. @throws BusError `engine_unavailable`, `forbidden` */
  async change(delivery: PopDelivery, forMs: number): Promise<void> {
    const { receipt, broker } = delivery
    const invisibleTime = String(Math.max(1, Math.ceil(forMs)))
    const { popTime, invisibleTime: given, reviveQid } = await this.#ask(broker, request.extend, { ...fieldsOf(delivery), invisibleTime })
    if (popTime === undefined) return
    const [, , , , retry, name] = receipt.text.split(' ')
    const { queueId, offset } = receipt
    delivery.receipt = {
      ...receipt,
      text: [offset, popTime, given ?? invisibleTime, reviveQid ?? 0, retry, name, queueId, offset].join(' '),
    }
  }

  async #ask(broker: Broker, code: number, fields: Fields, body?: Buffer): Promise<Fields> {
    const what = 'a receipt'
    try {
      const frame = await (await this.#pool.to(broker.address)).ask(code, fields, what, body)
      if (frame.code !== answer.ok) throw refused(frame, what)
      return frame.fields
    } catch (error) {
      throw unavailable(error)
    }
  }
}

function fieldsOf({ group, receipt: { topic, queueId, offset, text } }: PopDelivery): Fields {
  return { consumerGroup: group, topic, queueId: String(queueId), offset: String(offset), extraInfo: text }
}

/** BatchAck of the Java client: one entry for what was popped at once, with a bit for each of its messages. */
function entriesOf(deliveries: readonly PopDelivery[]): object[] {
  const entries = new Map<string, { so: number; rest: object; offsets: number[] }>()
  for (const { receipt, group } of deliveries) {
    const [so, pt, it, rq, , , q] = receipt.text.split(' ').map(Number)
    const key = `${group} ${receipt.topic} ${q} ${so} ${pt} ${it} ${rq}`
    let entry = entries.get(key)
    if (!entry) {
      entry = { so: so!, rest: { c: group, t: receipt.topic, r: '0', so, q, rq, pt, it }, offsets: [] }
      entries.set(key, entry)
    }
    entry.offsets.push(receipt.offset - entry.so)
  }
  return [...entries.values()].map(({ rest, offsets }) => {
    const bits = Buffer.alloc((Math.max(...offsets) >> 3) + 1)
    for (const offset of offsets) bits[offset >> 3]! |= 1 << (offset & 7)
    return { ...rest, b: bits.toString('base64') }
  })
}
