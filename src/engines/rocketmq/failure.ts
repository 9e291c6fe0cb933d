import { BusError, type BusErrorCode, toBusError } from '../../errors.ts'
import { answer, type Frame } from './protocol.ts'

/** What a broker or name server answered that is no success, in the words of the bus. `what`: what was asked of it. */
export function refused({ code, remark }: Pick<Frame, 'code' | 'remark'>, what: string): BusError {
  const text = remark
    .replace(/^CODE: \d+\s+DESC: /, '')
    .split('\n', 1)[0]!
    .slice(0, 300)
  const say = (kind: BusErrorCode, why: string): BusError => new BusError(kind, `${what}: ${why} (RocketMQ, code ${code}: ${text})`)
  if (/signature|accessKey|secretKey|User:\S* (is )?not found|authentication/i.test(text))
    return say('unauthorized', 'the broker refuses the keys (rocketmq.accessKey, rocketmq.secretKey)')
  switch (code) {
    case answer.noPermission:
      return say('forbidden', 'this user may not do that')
    case answer.illegalMessage:
      return /size|length/i.test(text)
        ? say('message_too_large', 'the broker refuses its size')
        : say('invalid_message', 'the broker refuses it')
    case answer.noTopic:
      return say('not_found', 'there is no such topic')
    case answer.noGroup:
      return say('not_found', 'there is no such group')
    // The master has it. Where it is to be on disk or on a copy before it counts, that is not known.
    case answer.flushDiskTimeout:
    case answer.flushReplicaTimeout:
    case answer.noReplica:
      return say('publish_unknown', 'it may be stored')
    // Before it looked at it: nothing is stored.
    case answer.busy:
      return say('engine_unavailable', 'the broker is busy')
    default:
      return /no permission|denied|AclException/i.test(text)
        ? say('forbidden', 'this user may not do that')
        : say('engine_unavailable', 'the broker refused it')
  }
}

/** For what may be asked again without harm: that the answer is missing means no more than that. */
export function unavailable(error: unknown): BusError {
  const own = toBusError(error, 'engine_unavailable')
  return own.code === 'publish_unknown' ? new BusError('engine_unavailable', own.message, { cause: own }) : own
}
