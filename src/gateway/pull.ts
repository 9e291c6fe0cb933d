import type { Context } from 'hono'
import { BusError } from '../errors.ts'
import { mostHeld, type Verdict } from './bridge.ts'
import { fields, groupOf, isObject, textOr, topicOf, whole } from './input.ts'
import { ok, type Route, type Scope } from './route.ts'
import { count, flag, list, messageFields, object, text } from './schemas.ts'
import { messageView } from './views.ts'

const pulled = object({ token: text, attempt: count, ...messageFields })
const leaseSchema = { type: 'integer', minimum: 100, maximum: 3_600_000 }
const verdict = object({
  token: text,
  'ack?': { const: true },
  'retry?': object({ 'delayMs?': count, 'reason?': text }),
  'reject?': object({ reason: text }),
  'extend?': object({ leaseMs: leaseSchema }),
})

export const pullRoutes: readonly Route[] = [
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/pull',
    id: 'pull',
    summary: 'Take messages of a group; what is not settled within leaseMs is retried',
    request: {
      'application/json': object({
        'max?': { type: 'integer', minimum: 1, maximum: mostHeld, default: 1 },
        'waitMs?': { type: 'integer', minimum: 0, maximum: 60_000, default: 0 },
        'leaseMs?': { ...leaseSchema, default: 30_000 },
      }),
    },
    replies: ok('The messages; none after waitMs', object({ messages: list(pulled), leaseMs: count })),
    handle: pull,
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/settle',
    id: 'settle',
    summary: 'Say of each pulled message whether it is done, to be retried, a dead letter, or needs a longer lease',
    request: { 'application/json': object({ results: list(verdict) }) },
    replies: ok(
      "In the order given; not ok: the lease ran out, the message is somebody else's",
      object({ results: list(object({ token: text, ok: flag, 'detail?': text })) }),
    ),
    handle: settle,
  },
]

async function pull(scope: Scope, c: Context): Promise<Response> {
  const asked = await fields(c)
  const max = whole(asked['max'], 'max', 1, mostHeld, 1)
  const waitMs = whole(asked['waitMs'], 'waitMs', 0, 60_000, 0)
  const leaseMs = whole(asked['leaseMs'], 'leaseMs', 100, 3_600_000, 30_000)
  if (scope.stopping.aborted) throw new BusError('closed', 'the gateway is closing')
  const signal = AbortSignal.any([scope.stopping, c.req.raw.signal])
  const held = await scope.bridges.at(topicOf(c), groupOf(c)).pull(max, waitMs, leaseMs, signal)
  return c.json({ messages: held.map(({ token, attempt, message }) => ({ token, attempt, ...messageView(message) })), leaseMs })
}

async function settle(scope: Scope, c: Context): Promise<Response> {
  const { results } = await fields(c)
  if (!Array.isArray(results)) throw new BusError('invalid_argument', 'give { results: [{ token, ack | retry | reject | extend }] }')
  // All are read before any is settled: a wrong one settles nothing.
  const verdicts = results.map(verdictOf)
  const bridge = scope.bridges.find(topicOf(c), groupOf(c))
  return c.json({
    results: verdicts.map(([token, said]) =>
      bridge?.settle(token, said)
        ? { token, ok: true }
        : { token, ok: false, detail: 'not held any more: settled before, or its lease ran out and it is delivered again' },
    ),
  })
}

function verdictOf(given: unknown, i: number): [string, Verdict] {
  const bad = (why: string): BusError => new BusError('invalid_argument', `results[${i}]: ${why}; nothing was settled`)
  if (!isObject(given) || typeof given['token'] !== 'string') throw bad('the token is missing')
  const { token, ack, retry, reject, extend } = given
  if ([ack, retry, reject, extend].filter((one) => one !== undefined).length !== 1)
    throw bad('give one of ack: true, retry: {…}, reject: {…}, extend: {…}')
  if (ack !== undefined) {
    if (ack !== true) throw bad('ack must be true')
    return [token as string, { kind: 'ack' }]
  }
  if (retry !== undefined) {
    if (!isObject(retry)) throw bad('retry must be an object, if an empty one')
    const { delayMs, reason } = retry
    const after = delayMs === undefined ? undefined : whole(delayMs, `results[${i}].retry.delayMs`, 0, 86_400_000, 0)
    return [token as string, { kind: 'retry', delayMs: after, reason: textOr(reason, `results[${i}].retry.reason`, undefined) }]
  }
  if (extend !== undefined) {
    if (!isObject(extend) || extend['leaseMs'] === undefined) throw bad('extend needs leaseMs')
    return [token as string, { kind: 'extend', leaseMs: whole(extend['leaseMs'], `results[${i}].extend.leaseMs`, 100, 3_600_000, 0) }]
  }
  if (!isObject(reject) || typeof reject['reason'] !== 'string' || reject['reason'] === '') throw bad('reject needs a reason')
  return [token as string, { kind: 'reject', reason: reject['reason'] }]
}
