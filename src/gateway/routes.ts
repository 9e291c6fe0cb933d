import type { Context } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { StoredView } from '../admin/admin.ts'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import type { Duration } from '../message/duration.ts'
import { metrics } from './metrics.ts'

/** One row gives the route, and its entry in the OpenAPI document. */
export interface Route {
  readonly method: 'get' | 'post' | 'delete'
  /** With `{parameters}`. */
  readonly path: string
  readonly summary: string
  /** Answers without a token. */
  readonly open?: boolean
  readonly body?: object
  readonly query?: Readonly<Record<string, string>>
  readonly status?: number
  readonly handle: (bus: Bus, c: Context) => Promise<Response> | Response
}

const heartbeatMs = 15_000
const pageSize = 200

const reason = {
  type: 'object',
  properties: {
    ids: { type: 'array', items: { type: 'string' } },
    filter: { type: 'object', properties: { topic: { type: 'string' }, key: { type: 'string' }, error: { type: 'string' } } },
  },
}

export const routes: readonly Route[] = [
  {
    method: 'post',
    path: '/v1/topics/{topic}/messages',
    summary: 'Publish one message (application/json: the body is the message) or many (application/x-ndjson: one a line)',
    body: {},
    status: 201,
    handle: publish,
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/messages',
    summary: 'Browse stored messages',
    query: { from: 'start, end, or a position', limit: 'at most, default 50' },
    handle: browse,
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/events',
    summary: 'Follow a topic by server-sent events; Last-Event-ID resumes without a gap',
    query: { from: 'start, end (default), or a position' },
    handle: follow,
  },
  { method: 'get', path: '/v1/topics', summary: 'All topics', handle: async (bus, c) => c.json({ topics: await bus.admin.topics() }) },
  {
    method: 'delete',
    path: '/v1/topics/{topic}',
    summary: 'Delete a topic without members',
    handle: async (bus, c) => bus.admin.deleteTopic(name(c)).then(() => c.json({ deleted: name(c) })),
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups',
    summary: 'Groups of a topic, with lag',
    handle: async (bus, c) => c.json({ groups: await bus.admin.groups(name(c)) }),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/pause',
    summary: 'Pause a group',
    handle: async (bus, c) => bus.admin.pause(name(c), group(c)).then(() => c.json({ paused: true })),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/resume',
    summary: 'Resume a group',
    handle: async (bus, c) => bus.admin.resume(name(c), group(c)).then(() => c.json({ paused: false })),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/reset',
    summary: 'Move a group that has no members',
    body: { type: 'object', required: ['to'], properties: { to: { type: 'string', description: 'earliest, new, or a position' } } },
    handle: async (bus, c) => {
      const { to } = await json<{ to?: string }>(c)
      if (typeof to !== 'string') throw new BusError('invalid_argument', "give { to: 'earliest' | 'new' | a position }")
      await bus.admin.reset(name(c), group(c), { to })
      return c.json({ reset: to })
    },
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters',
    summary: 'Dead letters of a group',
    query: { limit: 'at most, default 100', after: 'the last id of the page before' },
    handle: async (bus, c) => {
      const after = c.req.query('after')
      const letters = await bus.admin
        .deadLetters(name(c), group(c))
        .list({ limit: whole(c.req.query('limit'), 100), ...(after === undefined ? {} : { after }) })
      return c.json({ deadLetters: letters.map(({ bytes, ...letter }) => ({ ...letter, body: bodyOf(letter.body, bytes) })) })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters/replay',
    summary: 'Give dead letters to their group again',
    body: reason,
    handle: async (bus, c) => c.json({ replayed: await bus.admin.deadLetters(name(c), group(c)).replay(await which(c)) }),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters/discard',
    summary: 'Delete dead letters',
    body: reason,
    handle: async (bus, c) => c.json({ discarded: await bus.admin.deadLetters(name(c), group(c)).discard(await which(c)) }),
  },
  { method: 'get', path: '/healthz', summary: 'The process is alive', open: true, handle: (_bus, c) => c.json({ ok: true }) },
  {
    method: 'get',
    path: '/readyz',
    summary: 'The engine answers',
    open: true,
    handle: async (bus, c) => {
      const health = await bus.health()
      return c.json(health, health.ok ? 200 : 503)
    },
  },
  { method: 'get', path: '/metrics', summary: 'Prometheus metrics', handle: async (bus, c) => c.text(await metrics(bus)) },
]

function name(c: Context): string {
  return c.req.param('topic')!
}

function group(c: Context): string {
  return c.req.param('group')!
}

function whole(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new BusError('invalid_argument', `limit must be a whole number from 1 to 1000, not '${text}'`)
  return value
}

async function json<T>(c: Context): Promise<T> {
  try {
    return (await c.req.json()) as T
  } catch (error) {
    throw new BusError('invalid_message', 'the request body is no JSON', { cause: error })
  }
}

async function which(c: Context) {
  const { ids, filter } = await json<{ ids?: string[]; filter?: { topic?: string; key?: string; error?: string } }>(c)
  if (Array.isArray(ids)) return ids
  if (filter && typeof filter === 'object') return filter
  throw new BusError('invalid_argument', 'say which: { ids: [...] } or { filter: {} } for all')
}

async function publish(bus: Bus, c: Context): Promise<Response> {
  const type = (c.req.header('content-type') ?? 'application/json').split(';')[0]!.trim()
  const key = c.req.header('cozebus-key')
  const delay = c.req.header('cozebus-delay')
  const traceparent = c.req.header('traceparent')
  const options = {
    ...(key === undefined ? {} : { key }),
    ...(delay === undefined ? {} : { delay: (/^\d+$/.test(delay) ? Number(delay) : delay) as Duration }),
    ...(traceparent === undefined ? {} : { headers: { traceparent } }),
  }
  if (type === 'application/x-ndjson') {
    const lines = (await c.req.text()).split('\n').filter((line) => line.trim() !== '')
    const bodies = lines.map((line, i) => {
      try {
        return JSON.parse(line) as unknown
      } catch (error) {
        throw new BusError('invalid_message', `line ${i + 1} is no JSON; nothing was published`, { cause: error })
      }
    })
    const outcomes = await bus.publishMany(name(c), bodies, options)
    return c.json(
      {
        outcomes: outcomes.map((outcome) =>
          outcome.ok ? outcome : { ...outcome, error: { code: outcome.error.code, detail: outcome.error.message } },
        ),
      },
      outcomes.every(({ ok }) => ok) ? 201 : 207,
    )
  }
  const body = type === 'application/json' ? await json<unknown>(c) : new Uint8Array(await c.req.arrayBuffer())
  const id = c.req.header('cozebus-id')
  const receipt = await bus.publish(name(c), body, { ...options, ...(id === undefined ? {} : { id }) })
  return c.json(receipt, 201)
}

async function browse(bus: Bus, c: Context): Promise<Response> {
  const page = await bus.admin.browse(name(c), { from: c.req.query('from') ?? 'start', limit: whole(c.req.query('limit'), 50) })
  return c.json({ messages: page.messages.map(event), next: page.next })
}

function bodyOf(body: unknown, bytes: Uint8Array): unknown {
  return body instanceof Uint8Array ? { base64: Buffer.from(bytes).toString('base64') } : body
}

function event({ bytes, ...stored }: StoredView) {
  return { ...stored, body: bodyOf(stored.body, bytes) }
}

/** Pages from where the reader stands; a live subscription rings when there is more, so that nothing is missed and nothing is polled. */
async function follow(bus: Bus, c: Context): Promise<Response> {
  const topic = name(c)
  let at = c.req.header('last-event-id') ?? c.req.query('from') ?? 'end'
  let bell = (): void => {}
  const ring = (): void => bell()
  const live = await bus.subscribe(topic, ring)
  try {
    // Fixes the place before the stream begins, and answers 404 or 400 while there still is a status to give.
    at = await bus.admin.browse(topic, { from: at, limit: 1 }).then(
      (page) => (at === 'start' ? '0' : at === 'end' ? page.next : at),
      (error) => {
        if (error instanceof BusError && error.code === 'not_found') return '0'
        throw error
      },
    )
  } catch (error) {
    await live.close()
    throw error
  }
  return streamSSE(c, async (stream) => {
    let open = true
    stream.onAbort(() => {
      open = false
      ring()
    })
    const timer = setInterval(() => void stream.write(': still here\n\n'), heartbeatMs)
    // The headers go out with the first byte: a reader must know at once that it follows.
    await stream.write(': following\n\n')
    try {
      while (open && !stream.aborted) {
        let waiting: Promise<void> | undefined
        const page = await bus.admin.browse(topic, { from: at, limit: pageSize }).catch((error: unknown) => {
          if (error instanceof BusError && error.code === 'not_found') return { messages: [], next: at }
          throw error
        })
        if (page.messages.length === 0) {
          waiting = new Promise((resolve) => {
            const timeout = setTimeout(resolve, 1000)
            bell = () => {
              clearTimeout(timeout)
              resolve()
            }
          })
        }
        for (const stored of page.messages) await stream.writeSSE({ id: stored.position, data: JSON.stringify(event(stored)) })
        at = page.next
        await waiting
      }
    } catch {
      // The bus closed or the reader left: it comes back with Last-Event-ID.
    } finally {
      clearInterval(timer)
      await live.close()
    }
  })
}
