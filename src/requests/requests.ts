import { errorText } from '../deliver/outcome.ts'
import type { ReplyMessage, RequestMessage, Requests } from '../engines/engine.ts'
import { BusError, toBusError } from '../errors.ts'
import { bytesCodec, type Codec, jsonCodec } from '../message/codec.ts'
import { checkHeaders, type Headers } from '../message/headers.ts'
import { newId } from '../message/id.ts'
import { visibleHeaders } from '../message/wire.ts'
import type { AnyDefinition } from '../topic/definition.ts'

/** A question as a responder gets it. */
export interface Request<Body = any> {
  readonly id: string
  readonly topic: string
  readonly params: Record<string, string>
  readonly body: Body
  readonly headers: Headers
  readonly askedAt: Date
}

/** The header that carries a responder's failure. */
const errorHeader = 'cozebus-error'

function encodeBody(body: unknown): { body: Uint8Array; headers: Headers | undefined } {
  return body instanceof Uint8Array
    ? { body, headers: { 'content-type': 'application/octet-stream' } }
    : { body: jsonCodec.encode(body ?? null), headers: undefined }
}

function codecOf(headers: Headers | undefined): Codec {
  return headers?.['content-type'] === 'application/octet-stream' ? bytesCodec : jsonCodec
}

/** @throws BusError `invalid_message` for headers that may not be, `timeout`, `no_responders`, `aborted`; `internal` with the responder's words when it failed */
export async function ask(
  requests: Requests,
  name: string,
  question: unknown,
  timeoutMs: number,
  headers: Headers | undefined,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (headers) checkHeaders(headers)
  const encoded = encodeBody(question)
  const reply = await requests.request(
    { name, id: newId(), headers: { ...headers, ...encoded.headers }, body: encoded.body, at: Date.now() },
    timeoutMs,
    signal,
  )
  return answerOf(reply, name)
}

/** One answer of several: a responder that failed hides no other. */
export type Answer<Body = any> = { readonly ok: true; readonly body: Body } | { readonly ok: false; readonly error: BusError }

/** @throws BusError `unsupported`, `invalid_message`, `no_responders` */
export async function* askMany(
  requests: Requests,
  engine: string,
  name: string,
  question: unknown,
  options: {
    readonly timeoutMs: number
    readonly max: number
    readonly headers: Headers | undefined
    readonly signal: AbortSignal | undefined
  },
): AsyncGenerator<Answer, void, void> {
  if (!requests.requestMany) throw new BusError('unsupported', `the ${engine} engine gives the first answer only; use request`)
  const { timeoutMs, max, headers, signal } = options
  if (headers) checkHeaders(headers)
  const encoded = encodeBody(question)
  const message = { name, id: newId(), headers: { ...headers, ...encoded.headers }, body: encoded.body, at: Date.now() }
  for await (const reply of requests.requestMany(message, timeoutMs, max, signal)) {
    try {
      yield { ok: true, body: answerOf(reply, name) }
    } catch (thrown) {
      yield { ok: false, error: toBusError(thrown) }
    }
  }
}

/** @throws BusError `internal` with the responder's words when it failed */
function answerOf(reply: ReplyMessage, name: string): unknown {
  const failure = reply.headers?.[errorHeader]
  if (failure !== undefined) throw new BusError('internal', `the responder of '${name}' failed: ${decodeURIComponent(failure)}`)
  return codecOf(reply.headers).decode(reply.body)
}

/** What an engine calls for each question: decodes, runs the handler, and turns a throw into an answer that says so. */
export function responder(
  definition: AnyDefinition | undefined,
  handler: (request: Request) => unknown,
): (message: RequestMessage) => Promise<ReplyMessage> {
  return async (message) => {
    try {
      const answer = await handler({
        id: message.id,
        topic: message.name,
        params: definition?.parse(message.name) ?? {},
        body: codecOf(message.headers).decode(message.body),
        headers: visibleHeaders(message.headers),
        askedAt: new Date(message.at),
      })
      return encodeBody(answer)
    } catch (thrown) {
      return { headers: { [errorHeader]: encodeURIComponent(errorText(thrown).slice(0, 2000).toWellFormed()) }, body: new Uint8Array(0) }
    }
  }
}
