import type { Context } from 'hono'
import { BusError } from '../errors.ts'
import type { Duration } from '../message/duration.ts'
import type { PublishOptions } from '../publish/encode.ts'
import type { Outcome } from '../publish/receipt.ts'
import { isObject, parse, textOf, textOr, topicOf } from './input.ts'
import type { Route, Scope } from './route.ts'
import { anything, duration, flag, headers, list, object, receipt, text } from './schemas.ts'

const headerPrefix = 'cozebus-header-'
const batchType = 'application/vnd.cozebus.batch+json'
const outcome = object({
  ok: flag,
  id: text,
  topic: text,
  'position?': text,
  'duplicate?': flag,
  'error?': object({ code: text, detail: text }),
})
const outcomes = object({ outcomes: list(outcome) })

export const publishRoute: Route = {
  method: 'post',
  path: '/v1/topics/{topic}/messages',
  id: 'publish',
  summary: 'Publish one message or many',
  description:
    'With application/json, or any type that ends in +json, the request body is the body of one message. application/x-ndjson is one message a line. ' +
    `${batchType} is a list of messages, each with its own key, id, headers and delay. Any other type is one message of bytes. ` +
    'Headers of the message are those whose names begin with Cozebus-Header-, without it; in a batch they stand in headers. ' +
    'Key, delay and headers given as headers of the request hold for each message of it.',
  headers: {
    'Cozebus-Key': 'what order is kept by',
    'Cozebus-Id': 'the id; the same one again is stored once',
    'Cozebus-Delay': "deliver after this time: milliseconds, or '30s'",
  },
  request: {
    'application/json': anything,
    'application/x-ndjson': { type: 'string', description: 'one JSON body a line' },
    [batchType]: list(object({ body: anything, 'key?': text, 'id?': text, 'headers?': headers, 'delay?': duration })),
    'application/octet-stream': { type: 'string', format: 'binary' },
  },
  replies: {
    201: {
      description: 'Stored: a receipt for one message, outcomes for many',
      content: { 'application/json': { oneOf: [receipt, outcomes] } },
    },
    207: { description: 'Some of many are not stored; each outcome tells', content: { 'application/json': outcomes } },
  },
  handle: publish,
}

function mediaType(c: Context): string {
  return (c.req.header('content-type') ?? 'application/json').split(';')[0]!.trim().toLowerCase()
}

async function publish(scope: Scope, c: Context): Promise<Response> {
  const type = mediaType(c)
  if (type === 'application/x-ndjson') return lines(scope, c)
  if (type === batchType) return batch(scope, c)
  // What curl sends without a header: stored as bytes it would surprise whoever reads it.
  if (type === 'application/x-www-form-urlencoded' || type === 'multipart/form-data')
    throw new BusError('invalid_argument', `${type} is no message; send the header content-type: application/json (curl -H)`)
  const body = type === 'application/json' || type.endsWith('+json') ? parse(await textOf(c), 'the body') : await bytes(c)
  const sent = await scope.bus.publish(await scope.stored.place(topicOf(c)), body, {
    ...shared(c),
    ...(c.req.header('cozebus-id') === undefined ? {} : { id: c.req.header('cozebus-id')! }),
  })
  return c.json(sent, 201)
}

async function bytes(c: Context): Promise<Uint8Array> {
  return new Uint8Array(await c.req.arrayBuffer())
}

/** Options from headers: they hold for each message of the request. */
function shared(c: Context): PublishOptions {
  const key = c.req.header('cozebus-key')
  const delay = c.req.header('cozebus-delay')
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(c.req.header())) {
    // A trace that the caller is in goes on in whoever handles the message.
    if (name === 'traceparent' || name === 'tracestate') headers[name] = value
    else if (name.startsWith(headerPrefix)) headers[name.slice(headerPrefix.length)] = value
  }
  return {
    ...(key === undefined ? {} : { key }),
    ...(delay === undefined ? {} : { delay: toDuration(delay) }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
  }
}

function toDuration(value: unknown): Duration {
  return (typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value) as Duration
}

async function lines(scope: Scope, c: Context): Promise<Response> {
  if (c.req.header('cozebus-id') !== undefined)
    throw new BusError('invalid_argument', `one Cozebus-Id cannot name many messages; send ${batchType} with an id each`)
  const bodies = (await textOf(c))
    .split('\n')
    .map((line, i) => ({ line, number: i + 1 }))
    .filter(({ line }) => line.trim() !== '')
    // All are read before any is sent: a broken line publishes nothing.
    .map(({ line, number }) => parse(line, `line ${number} (nothing was published)`))
  return answer(c, await scope.bus.publishMany(await scope.stored.place(topicOf(c)), bodies, shared(c)))
}

async function batch(scope: Scope, c: Context): Promise<Response> {
  const items = parse(await textOf(c), 'the batch')
  if (!Array.isArray(items)) throw new BusError('invalid_argument', 'a batch is a JSON array of { body, key, id, headers, delay }')
  const common = shared(c)
  const calls = items.map((item, i) => {
    if (!isObject(item) || !('body' in item))
      throw new BusError('invalid_argument', `item ${i} of the batch has no body; nothing was published`)
    return { body: item['body'], options: { ...common, ...optionsOf(item, i, common) } }
  })
  const topic = topicOf(c)
  const place = await scope.stored.place(topic)
  const sent = calls.map(async ({ body, options }): Promise<Outcome> => {
    try {
      return { ok: true, ...(await scope.bus.publish(place, body, options)) }
    } catch (thrown) {
      if (thrown instanceof BusError) return { ok: false, id: options.id ?? '', topic, error: thrown }
      throw thrown
    }
  })
  return answer(c, await Promise.all(sent))
}

function optionsOf(item: Record<string, unknown>, i: number, common: PublishOptions): PublishOptions {
  const key = textOr(item['key'], `item ${i}: key`, undefined)
  const id = textOr(item['id'], `item ${i}: id`, undefined)
  const own = item['headers']
  if (own !== undefined && !isObject(own))
    throw new BusError('invalid_argument', `item ${i}: headers must be an object; nothing was published`)
  return {
    ...(key === undefined ? {} : { key }),
    ...(id === undefined ? {} : { id }),
    ...(own === undefined ? {} : { headers: { ...common.headers, ...(own as Record<string, string>) } }),
    ...(item['delay'] === undefined ? {} : { delay: toDuration(item['delay']) }),
  }
}

function answer(c: Context, outcomes: readonly Outcome[]): Response {
  const shown = outcomes.map((one) => (one.ok ? one : { ...one, error: { code: one.error.code, detail: one.error.message } }))
  return c.json({ outcomes: shown }, outcomes.every((one) => one.ok) ? 201 : 207)
}
