import type { Delivery } from '../engines/engine.ts'
import { jsonCodec, saysJson } from '../message/codec.ts'
import { unwrap } from '../message/envelope.ts'
import { issuesText } from '../message/schema.ts'
import { visibleHeaders, wire } from '../message/wire.ts'
import type { AnyDefinition } from '../topic/definition.ts'
import { Job } from './job.ts'
import type { Message } from './message.ts'

/** The message under whatever wire form it came in. `storage` = what the group reads, also for its private topic. */
export function open(delivery: Delivery, storage: string, headerless: boolean, now: number): Job {
  let { id, name, key, headers, body, at } = delivery
  if (headerless) {
    const opened = unwrap(body)
    if (opened) {
      ;({ id, name, key, headers, at } = opened.envelope)
      body = opened.body
    }
  }
  if (headers) {
    id = headers[wire.id] ?? id
    name = headers[wire.topic] ?? name
    const since = headers[wire.publishedAt]
    if (since !== undefined) at = Number(since)
  }
  return new Job(delivery, storage, id, name, key, headers, body, at, now)
}

/** Why a body cannot be handled, ever: it goes to the dead letters at once. */
export class Undecodable extends Error {
  override readonly name = 'Undecodable'
}

/** Decodes and validates. Returns the message, or a promise where the schema asks for one. @throws Undecodable */
export function decode(job: Job, definition: AnyDefinition | undefined): Message | Promise<Message> {
  const unreadable = job.headers?.[wire.unreadable]
  if (unreadable !== undefined) throw new Undecodable(`the body cannot be read: ${unreadable}`)
  let body: unknown
  const codec = definition?.codec ?? jsonCodec
  if (codec === jsonCodec && !saysJson(job.headers)) body = job.body
  else {
    try {
      body = codec.decode(job.body)
    } catch (error) {
      throw new Undecodable(`the body is no ${codec.contentType}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    }
  }
  const schema = definition?.schema
  if (!schema) return message(job, body, definition)
  const result = schema['~standard'].validate(body)
  if (result instanceof Promise) return result.then((done) => validated(job, done, definition))
  return validated(job, result, definition)
}

type Validation =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] }

function validated(job: Job, result: Validation, definition: AnyDefinition | undefined): Message {
  if (result.issues) throw new Undecodable(`the body does not fit the schema: ${issuesText(result.issues)}`)
  return message(job, result.value, definition)
}

const noParams: Record<string, string> = Object.freeze({})

function message(job: Job, body: unknown, definition: AnyDefinition | undefined): Message {
  return {
    id: job.id,
    topic: job.name,
    params: definition && definition.parameters.length > 0 ? (definition.parse(job.name) ?? noParams) : noParams,
    key: job.key ?? definition?.key?.(body),
    body,
    bytes: job.body,
    headers: visibleHeaders(job.headers),
    publishedAt: new Date(job.at),
  }
}
