import { BusError, type BusErrorCode } from '../../errors.ts'

/** https://github.com/apache/pulsar/blob/v4.2.4/pulsar-common/src/main/proto/PulsarApi.proto, ServerError. */
export const serverError = {
  unknown: 0,
  metadata: 1,
  persistence: 2,
  authentication: 3,
  authorization: 4,
  consumerBusy: 5,
  serviceNotReady: 6,
  quota: 7,
  quotaException: 8,
  checksum: 9,
  topicNotFound: 11,
  subscriptionNotFound: 12,
  tooManyRequests: 14,
  topicTerminated: 15,
  producerBusy: 16,
  invalidTopicName: 17,
  incompatibleSchema: 18,
  consumerAssign: 19,
  notAllowed: 22,
  producerFenced: 25,
} as const

const meanings: Readonly<Record<number, readonly [BusErrorCode, string]>> = {
  [serverError.authentication]: ['unauthorized', 'the broker refuses the credentials (pulsar.token)'],
  [serverError.authorization]: ['forbidden', 'this role may not do that'],
  [serverError.consumerBusy]: [
    'conflict',
    "the subscription is held by consumers that do not share it, as Coze's Go services do (Exclusive): stop them first, or use another group name",
  ],
  [serverError.topicNotFound]: ['not_found', 'there is no such topic, and it may not be made'],
  [serverError.subscriptionNotFound]: ['not_found', 'there is no such subscription'],
  [serverError.topicTerminated]: ['forbidden', 'the topic was terminated and takes nothing more'],
  [serverError.invalidTopicName]: ['invalid_topic', 'the broker refuses the name'],
  [serverError.incompatibleSchema]: ['forbidden', 'the topic has a schema, and takes no plain bytes'],
  [serverError.quota]: ['store_full', 'its backlog quota is used up'],
  [serverError.quotaException]: ['store_full', 'its backlog quota is used up'],
}

/** The topic is on its way to another broker, or not loaded yet: whoever looks for it again finds it. */
export class NotServing extends BusError {}

/** Of a topic and not of one message: it is fenced, closing or overloaded, and takes the same message later. */
const ofTheTopic: ReadonlySet<number> = new Set([
  serverError.unknown,
  serverError.persistence,
  serverError.serviceNotReady,
  serverError.tooManyRequests,
  serverError.producerBusy,
  serverError.producerFenced,
])

/** What a broker answered to one message: {@link NotServing} where all that is on its way to the topic has to go again. */
export function refusedMessage(code: number, message: string): BusError {
  const error = refused(code, message, 'a message')
  if (ofTheTopic.has(code)) return error instanceof NotServing ? error : new NotServing('engine_unavailable', error.message)
  if (code === serverError.notAllowed && /message size/i.test(message)) return new BusError('message_too_large', error.message)
  return error.code === 'engine_unavailable' ? new BusError('publish_rejected', error.message) : error
}

/** What a broker answered that is no success, in the words of the bus. `what`: what was asked of it. */
export function refused(code: number, message: string, what: string): BusError {
  const text = message
    .split('\n', 1)[0]!
    .replace(/^org\.apache\.pulsar\.[\w.$]+: /, '')
    .slice(0, 300)
  const say = (kind: BusErrorCode, why: string): BusError => new BusError(kind, `${what}: ${why} (Pulsar, error ${code}: ${text})`)
  // Two members ask for the same group in two ways: the broker has no number of its own for it.
  if (/subscription is of different type/i.test(text)) return say('conflict', meanings[serverError.consumerBusy]![1])
  if (code === serverError.notAllowed && /not allowed|auto.?creat|not exist/i.test(text) && /topic/i.test(text))
    return say('not_found', 'there is no such topic, and it may not be made')
  if (code === serverError.serviceNotReady)
    return new NotServing('engine_unavailable', `${what}: the broker does not serve it now (Pulsar, error ${code}: ${text})`)
  const [kind, why] = meanings[code] ?? ['engine_unavailable', 'the broker refused it']
  return say(kind, why)
}

/** This user may not do it, or see it. */
export function isForbidden(error: unknown): error is BusError {
  return error instanceof BusError && (error.code === 'forbidden' || error.code === 'unauthorized')
}
