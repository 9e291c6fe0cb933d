import type { Capabilities, Outgoing } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import { jsonCodec } from '../message/codec.ts'
import { type Duration, toMs } from '../message/duration.ts'
import { wrap } from '../message/envelope.ts'
import { checkHeaders, type Headers } from '../message/headers.ts'
import { newId } from '../message/id.ts'
import { issuesText } from '../message/schema.ts'
import type { Target } from '../topic/resolve.ts'

export interface PublishOptions {
  readonly headers?: Headers
  /** The message's id; the same id again is stored once. Default: a new UUIDv7. */
  readonly id?: string
  /** What order is kept by. Default: what the definition computes. */
  readonly key?: string
  /** Deliver after this time. */
  readonly delay?: Duration
  /** Deliver at this time. */
  readonly deliverAt?: Date | number
  /** Gives up waiting; what was sent already may be stored all the same. */
  readonly signal?: AbortSignal
  /** False: handed to whoever listens and stored nowhere, where the engine can. Default: what the definition says, else true. */
  readonly persist?: boolean
  /** How long to try. Default `'30s'`. */
  readonly timeout?: Duration
}

const idText = /^[\x21-\x7e]{1,128}$/
const bytesHeaders: Headers = Object.freeze({ 'content-type': 'application/octet-stream' })

/**
 * The message with its bytes; a promise only where the schema is asynchronous.
 * @throws BusError `invalid_message`, `invalid_argument`
 */
export function encode(target: Target, body: unknown, options: PublishOptions, now: number): Outgoing | Promise<Outgoing> {
  const schema = target.definition?.schema
  if (!schema) return build(target, body, body, options, now)
  const result = schema['~standard'].validate(body)
  if (result instanceof Promise) return result.then((done) => build(target, body, checked(target, done), options, now))
  return build(target, body, checked(target, result), options, now)
}

function checked(
  target: Target,
  result: {
    readonly value?: unknown
    readonly issues?: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] | undefined
  },
): unknown {
  if (result.issues)
    throw new BusError('invalid_message', `topic '${target.name}': the body does not fit the schema: ${issuesText(result.issues)}`)
  return result.value
}

function build(target: Target, body: unknown, output: unknown, options: PublishOptions, now: number): Outgoing {
  const { definition } = target
  const codec = definition?.codec ?? jsonCodec
  let { headers } = options
  if (headers) checkHeaders(headers)
  const raw = codec === jsonCodec && body instanceof Uint8Array
  // The consumer must know that these bytes are no JSON; a caller who names a type knows better.
  if (raw && headers?.['content-type'] === undefined) headers = headers ? { ...headers, ...bytesHeaders } : bytesHeaders
  let bytes: Uint8Array
  try {
    bytes = codec.encode(body)
  } catch (error) {
    throw error instanceof BusError
      ? error
      : new BusError(
          'invalid_message',
          `topic '${target.name}': the body cannot be encoded as ${codec.contentType}: ${error instanceof Error ? error.message : String(error)}`,
          { cause: error },
        )
  }
  if (!(bytes instanceof Uint8Array))
    throw new BusError('invalid_message', `topic '${target.name}': its codec (${codec.contentType}) must give a Uint8Array`)
  const key = options.key ?? (raw ? undefined : definition?.key?.(output))
  if (key !== undefined && (typeof key !== 'string' || key.length === 0 || key.length > 1024))
    throw new BusError(
      'invalid_message',
      `topic '${target.name}': the key must be a text of 1 to 1024 characters, not ${JSON.stringify(key)?.slice(0, 80)}`,
    )
  const id = options.id ?? newId(now)
  const deliverAt = due(options, now)
  if (options.id !== undefined && !idText.test(id))
    throw new BusError(
      'invalid_message',
      `the id ${JSON.stringify(id).slice(0, 80)} must be 1 to 128 printable ASCII characters without spaces`,
    )
  return {
    storage: target.storage,
    name: target.name,
    id,
    key,
    headers,
    body: bytes,
    at: now,
    deliverAt,
    // What waits for its time may be sent by several.
    fresh: options.id === undefined && deliverAt === undefined,
  }
}

/** As the engine gets it: where it carries no headers, everything goes into the body. */
export function seal(message: Outgoing, capabilities: Capabilities): Outgoing {
  return capabilities.headers ? message : { ...message, body: wrap(message, message.body) }
}

function due(options: PublishOptions, now: number): number | undefined {
  if (options.delay === undefined && options.deliverAt === undefined) return undefined
  if (options.delay !== undefined && options.deliverAt !== undefined)
    throw new BusError('invalid_argument', 'give delay or deliverAt, not both')
  const at = options.delay !== undefined ? now + toMs(options.delay, 'delay') : Number(options.deliverAt)
  if (Number.isNaN(new Date(at).getTime())) throw new BusError('invalid_argument', 'deliverAt is no valid time')
  return at > now ? at : undefined
}
