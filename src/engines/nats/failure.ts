import { JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream'
import { errors } from '@nats-io/transport-node'
import { BusError, type BusErrorCode } from '../../errors.ts'

/** Error codes of the JetStream API (nats-server, server/errors.json). */
export const apiCode = {
  notEnabledForAccount: 10039,
  streamNotFound: 10059,
  streamExists: 10058,
  subjectOverlap: 10065,
  consumerNotFound: 10014,
  consumerExists: 10148,
  consumerNameInUse: 10013,
  wrongLastSequence: 10071,
  noMessage: 10037,
  insufficientReplicas: 10074,
  temporarilyUnavailable: 10008,
  noSuitablePeers: 10005,
  duplicateInProcess: 10158,
  storeFailed: 10077,
  /** What has no code of its own; its description tells. */
  general: 10051,
  streamDeleteFailed: 10050,
} as const

/** Answers that mean: the same again, in a moment. */
const transient = new Set<number>([10005, 10008, 10023, 10077, 10047, 10118, 10119, 10158, 10167, 10210, 10211])

const codes: Readonly<Record<number, BusErrorCode>> = {
  10054: 'message_too_large',
  10059: 'not_found',
  10014: 'not_found',
  10058: 'conflict',
  10065: 'conflict',
  10148: 'conflict',
  10013: 'conflict',
  10071: 'conflict',
  10074: 'invalid_argument',
  10039: 'unsupported',
  10052: 'invalid_argument',
}

export function isApi(thrown: unknown, code: number): boolean {
  return thrown instanceof JetStreamApiError && thrown.code === code
}

/** The same again, in a moment, may do. */
export function isTransient(thrown: unknown): boolean {
  return thrown instanceof JetStreamApiError && transient.has(thrown.code)
}

/** The code and text of a publish acknowledgement or an API answer, in the words of the bus. */
export function apiFailure(code: number, description: string, what: string): BusError {
  // Under one code with what passes by itself.
  if (code === apiCode.storeFailed && /^maximum (messages|bytes)/.test(description))
    return new BusError('store_full', `${what}: its stream has reached its limit: ${description}; purge it, or raise the limit`)
  if (transient.has(code)) return new BusError('engine_unavailable', `${what}: ${description} (${code})`)
  return new BusError(codes[code] ?? 'publish_rejected', `${what}: the server refused: ${description} (${code})`)
}

/** Its class is not exported. */
function isNotEnabled(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.name === 'JetStreamNotEnabled'
}

export function refusesCredentials(thrown: unknown): thrown is Error {
  return thrown instanceof errors.AuthorizationError || thrown instanceof errors.UserAuthenticationExpiredError
}

export function mayNotPublish(topic: string): BusError {
  return new BusError('forbidden', `topic '${topic}': this user may not publish to it; give it the permission, or connect as another`)
}

export function mayNotAcknowledge(group: string, subject: string): BusError {
  return new BusError(
    'forbidden',
    `group '${group}': this user may not publish to ${subject}, so nothing that it handles is acknowledged and all of it comes again; allow $JS.ACK.>`,
  )
}

/** What the client threw, in the words of the bus. */
export function natsError(thrown: unknown, what: string): BusError {
  if (thrown instanceof BusError) return thrown
  const cause = (thrown as { cause?: unknown } | undefined)?.cause
  if (thrown instanceof JetStreamApiError) return apiFailure(thrown.code, thrown.apiError().description, what)
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  if (thrown instanceof errors.PermissionViolationError || cause instanceof errors.PermissionViolationError)
    return new BusError('forbidden', `${what}: this user has no permission: ${text}`, { cause: thrown })
  if (refusesCredentials(thrown))
    return new BusError('unauthorized', `${what}: the server refused the credentials (${text})`, { cause: thrown })
  if (isNotEnabled(thrown))
    // Without an answer of the server's it is nobody who listens: at a change of leaders, too.
    return cause instanceof JetStreamApiError
      ? new BusError('unsupported', `${what}: JetStream is not enabled for this account`, { cause: thrown })
      : new BusError(
          'engine_unavailable',
          `${what}: nobody answers for JetStream; is it enabled (-js), and does the cluster have a leader?`,
          { cause: thrown },
        )
  if (thrown instanceof errors.InvalidArgumentError)
    return text.includes('max_payload')
      ? new BusError('message_too_large', `${what}: body and headers together are more than this server takes; make them smaller`, {
          cause: thrown,
        })
      : new BusError('invalid_argument', `${what}: ${text}`, { cause: thrown })
  if (thrown instanceof URIError)
    return new BusError('invalid_message', `${what}: a key or header holds half a character (a lone surrogate)`, { cause: thrown })
  if (thrown instanceof errors.ClosedConnectionError || thrown instanceof errors.DrainingConnectionError)
    return new BusError('closed', `${what}: the connection is closed`, { cause: thrown })
  return new BusError('engine_unavailable', `${what}: ${text}`, { cause: thrown })
}

/** What the server says of the account. @throws BusError `unsupported` where it has no JetStream, `forbidden`, `engine_unavailable` */
export async function jetStreamInfo(jsm: JetStreamManager): ReturnType<JetStreamManager['getAccountInfo']> {
  try {
    return await jsm.getAccountInfo()
  } catch (error) {
    if (isNotEnabled(error))
      throw new BusError(
        'unsupported',
        'the server has no JetStream for this account; start it with -js, enable JetStream for the account, or use it without by nats: { jetstream: false }',
        { cause: error },
      )
    const { code, message } = natsError(error, 'JetStream')
    if (code !== 'engine_unavailable') throw new BusError(code, message, { cause: error })
    throw new BusError(code, `JetStream does not answer (${message}); a cluster that has just started may have no leader yet`, {
      cause: error,
    })
  }
}
