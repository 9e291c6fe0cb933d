import type { Cluster, Queue } from './cluster.ts'
import { refused } from './failure.ts'
import { decodeMessages, type WireMessage } from './message.ts'
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
  next: number
  /** The queue does not reach so far. */
  readonly moved?: boolean
}

export function pullFields(topic: string, queueId: number, offset: number, waitMs: number, consumerGroup = reader): Fields {
  return {
    consumerGroup,
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
    return { messages: decodeMessages(body).filter((message) => message.offset >= offset && !message.isTorn), next: Math.max(goOn, offset) }
  if (code === answer.offsetMoved) return { messages: [], next: goOn, moved: goOn < offset }
  if (code === answer.nothing || code === answer.again) return { messages: [], next: goOn }
  throw refused({ code, remark }, what)
}

/** What lies at an offset and behind it, as much as an answer holds. */
export async function pull(cluster: Cluster, topic: string, { broker, id }: Queue, offset: number): Promise<Pulled> {
  const what = `topic '${topic}'`
  const { code, fields, body, remark } = await cluster.askAny(broker, request.pull, pullFields(topic, id, offset, 0), what)
  return pulled(code, fields, body, remark, offset, what)
}
