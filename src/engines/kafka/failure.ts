import { BusError, type BusErrorCode } from '../../errors.ts'

interface Thrown {
  readonly apiId?: string
  readonly code?: string
  readonly message?: string
  readonly errors?: readonly unknown[]
  readonly cause?: unknown
  readonly response?: unknown
}

/** Every error that the thrown one is made of, itself first. */
function* parts(thrown: unknown, depth = 0): Generator<Thrown> {
  if (typeof thrown !== 'object' || thrown === null || depth > 8) return
  const one = thrown as Thrown
  yield one
  for (const inner of one.errors ?? []) yield* parts(inner, depth + 1)
  yield* parts(one.cause, depth + 1)
}

/** The broker's own name of the error, `NOT_COORDINATOR`; undefined where it did not answer. */
export function apiIdOf(thrown: unknown): string | undefined {
  for (const { apiId } of parts(thrown)) if (apiId !== undefined) return apiId
  return undefined
}

/** What the broker answered beside its errors: each part of an answer has its own. */
export function answerIn(thrown: unknown): unknown {
  for (const { response } of parts(thrown)) if (response !== undefined) return response
  return undefined
}

/** The same again, in a moment, may do. */
const transient = new Set([
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'REPLICA_NOT_AVAILABLE',
  'BROKER_NOT_AVAILABLE',
  'NETWORK_EXCEPTION',
  'REQUEST_TIMED_OUT',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
  'NOT_CONTROLLER',
  'OFFSET_NOT_AVAILABLE',
  'UNSTABLE_OFFSET_COMMIT',
  'CONCURRENT_TRANSACTIONS',
  'THROTTLING_QUOTA_EXCEEDED',
  'INCONSISTENT_TOPIC_ID',
])

const codes: Readonly<Record<string, BusErrorCode>> = {
  MESSAGE_TOO_LARGE: 'message_too_large',
  RECORD_LIST_TOO_LARGE: 'message_too_large',
  UNKNOWN_TOPIC_OR_PARTITION: 'not_found',
  UNKNOWN_TOPIC_ID: 'not_found',
  GROUP_ID_NOT_FOUND: 'not_found',
  NON_EMPTY_GROUP: 'conflict',
  GROUP_SUBSCRIBED_TO_TOPIC: 'conflict',
  TOPIC_AUTHORIZATION_FAILED: 'forbidden',
  GROUP_AUTHORIZATION_FAILED: 'forbidden',
  CLUSTER_AUTHORIZATION_FAILED: 'forbidden',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'forbidden',
  SASL_AUTHENTICATION_FAILED: 'unauthorized',
  UNSUPPORTED_SASL_MECHANISM: 'unauthorized',
  ILLEGAL_SASL_STATE: 'unauthorized',
  INVALID_TOPIC_EXCEPTION: 'conflict',
  INVALID_REPLICATION_FACTOR: 'invalid_argument',
  INVALID_PARTITIONS: 'invalid_argument',
  INVALID_CONFIG: 'invalid_argument',
  INCONSISTENT_GROUP_PROTOCOL: 'conflict',
  INVALID_SESSION_TIMEOUT: 'invalid_argument',
  INVALID_GROUP_ID: 'invalid_argument',
  POLICY_VIOLATION: 'forbidden',
  UNSUPPORTED_VERSION: 'unsupported',
}

export function isTransientId(apiId: string | undefined): boolean {
  return apiId !== undefined && transient.has(apiId)
}

export function isTransient(thrown: unknown): boolean {
  const api = apiIdOf(thrown)
  if (api !== undefined) return transient.has(api)
  return !(thrown instanceof BusError) || thrown.code === 'engine_unavailable'
}

export function apiFailure(apiId: string, text: string | undefined, what: string): BusError {
  const said = `the broker refused: ${text ? `${text} (${apiId})` : apiId}`
  if (transient.has(apiId)) return new BusError('engine_unavailable', `${what}: ${said}`)
  return new BusError(codes[apiId] ?? 'publish_rejected', `${what}: ${said}`)
}

/** What the client threw, in the words of the bus. */
export function kafkaError(thrown: unknown, what: string): BusError {
  if (thrown instanceof BusError) return thrown
  let deepest = thrown instanceof Error ? thrown.message : String(thrown)
  let api: Thrown | undefined
  for (const part of parts(thrown)) {
    api ??= part.apiId === undefined ? undefined : part
    const text = part.message ?? ''
    if (part.code === 'PLT_KFK_AUTHENTICATION')
      return new BusError('unauthorized', `${what}: the broker refused the credentials (${apiText(thrown) ?? text})`, { cause: thrown })
    if (text.includes('Broker requires TLS'))
      return new BusError('engine_unavailable', `${what}: the broker speaks TLS; connect with kafka+ssl://, or kafka: { tls: {} }`, {
        cause: thrown,
      })
    if (text.includes('TLS handshake failed') || part.code === 'EPROTO' || part.code === 'ERR_SSL_WRONG_VERSION_NUMBER')
      return new BusError('engine_unavailable', `${what}: TLS is asked for and this port does not speak it (${text})`, { cause: thrown })
    if (part.code?.startsWith('PLT_KFK_UNSUPPORTED')) return new BusError('unsupported', `${what}: ${text}`, { cause: thrown })
    if (text !== '') deepest = text
  }
  if (api) {
    const { code, message } = apiFailure(api.apiId!, api.message, what)
    return new BusError(code, message, { cause: thrown })
  }
  return new BusError('engine_unavailable', `${what}: ${deepest}`, { cause: thrown })
}

function apiText(thrown: unknown): string | undefined {
  for (const { apiId, message } of parts(thrown)) if (apiId !== undefined) return message
  return undefined
}
