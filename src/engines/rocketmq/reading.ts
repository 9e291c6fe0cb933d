import type { Page, ReadFrom, Stored } from '../engine.ts'
import type { Cluster, Queue, Route } from './cluster.ts'
import { refused } from './failure.ts'
import { decodeMessages, storedOf, type WireMessage } from './message.ts'
import { findOffsets, placesOf, queueKey } from './offsets.ts'
import { answer, type Fields, request } from './protocol.ts'

/** A group that every broker has, for those who only look. */
const reader = 'TOOLS_CONSUMER'
const most = 32
/** Bits of a pull: the broker may wait for more; the request says what is subscribed. */
const mayWait = 2
const says = 4

export interface Pulled {
  readonly messages: readonly WireMessage[]
  /** Where the next pull begins. */
  readonly next: number
}

export function pullFields(topic: string, queueId: number, offset: number, waitMs: number): Fields {
  return {
    consumerGroup: reader,
    topic,
    queueId: String(queueId),
    queueOffset: String(offset),
    maxMsgNums: String(most),
    sysFlag: String(says | (waitMs > 0 ? mayWait : 0)),
    commitOffset: '0',
    suspendTimeoutMillis: String(waitMs),
    subscription: '*',
    subVersion: '0',
    expressionType: 'TAG',
  }
}

export function pulled(code: number, fields: Fields, body: Buffer, remark: string, offset: number, what: string): Pulled {
  const next = Number(fields['nextBeginOffset'])
  const goOn = Number.isSafeInteger(next) ? next : offset
  if (code === answer.ok)
    return { messages: decodeMessages(body).filter((message) => message.offset >= offset), next: Math.max(goOn, offset) }
  if (code === answer.nothing || code === answer.again || code === answer.offsetMoved) return { messages: [], next: goOn }
  throw refused({ code, remark }, what)
}

/** What lies at an offset and behind it, as much as an answer holds. */
export async function pull(cluster: Cluster, topic: string, { broker, id }: Queue, offset: number): Promise<Pulled> {
  const what = `topic '${topic}'`
  const { code, fields, body, remark } = await cluster.askAny(broker, request.pull, pullFields(topic, id, offset, 0), what)
  return pulled(code, fields, body, remark, offset, what)
}

/** Up to `limit` messages after the place, merged by the time they were stored. */
export async function readPage(cluster: Cluster, route: Route, storage: string, after: ReadFrom, limit: number): Promise<Page> {
  const { topic, readable: queues } = route
  const cursor = await placesOf(cluster, topic, queues, after, 1)
  const ends = await findOffsets(cluster, topic, queues, 'end')
  const heads = cursor.map((): WireMessage[] => [])
  const fetched = [...cursor]
  const messages: Stored[] = []
  const where = (): string => queues.map((queue, i) => `${queueKey(queue)}=${cursor[i]}`).join(',')
  while (messages.length < limit) {
    const hungry = queues.map((_, i) => i).filter((i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)
    await Promise.all(
      hungry.map(async (i) => {
        const found = await pull(cluster, topic, queues[i]!, fetched[i]!)
        heads[i] = found.messages.filter(({ offset }) => offset < ends[i]!)
        // What was just stored can be read some milliseconds later.
        if (found.next <= fetched[i]! && heads[i]!.length === 0) return new Promise<void>((resolve) => setTimeout(resolve, 2))
        fetched[i] = found.next
        if (heads[i]!.length === 0) cursor[i] = found.next
      }),
    )
    if (queues.some((_, i) => heads[i]!.length === 0 && fetched[i]! < ends[i]!)) continue
    let oldest = -1
    for (const [i, [head]] of heads.entries()) if (head && (oldest < 0 || head.storedMs < heads[oldest]![0]!.storedMs)) oldest = i
    if (oldest < 0) break
    const message = heads[oldest]!.shift()!
    messages.push(storedOf(message, storage, `${queueKey(queues[oldest]!)}:${message.offset}@${where()}`))
    cursor[oldest] = message.offset + 1
  }
  return { messages, next: `@${where()}` }
}
