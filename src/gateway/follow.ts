import type { Context } from 'hono'
import { type SSEStreamingApi, streamSSE } from 'hono/streaming'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { isPattern } from '../topic/pattern.ts'
import { Bell } from './bell.ts'
import { topicOf } from './input.ts'
import type { Route, Scope } from './route.ts'
import { text } from './schemas.ts'
import { messageView } from './views.ts'

const heartbeatMs = 15_000
/** How long a reader that heard no ring waits at most: a ring is a hint, the stored messages are the truth. */
const pollMs = 1000
const pageSize = 200

export const followRoute: Route = {
  method: 'get',
  path: '/v1/topics/{topic}/events',
  summary: 'Follow a topic by server-sent events; Last-Event-ID resumes without a gap',
  query: { from: 'start, end (default) or a position', after: 'a position; the same as Last-Event-ID' },
  headers: { 'Last-Event-ID': 'the id of the last event seen' },
  replies: { 200: { description: 'id is the position, data a message', content: { 'text/event-stream': text } } },
  handle: follow,
}

/** Pages from where the reader stands; a live subscription rings when there is more, so that nothing is missed and little is polled. */
async function follow(scope: Scope, c: Context): Promise<Response> {
  const { bus, stopping } = scope
  const topic = topicOf(c)
  const bell = new Bell()
  // Before the place is fixed: a message between the two would ring nobody.
  const live = await listen(bus, topic, bell)
  let at: string
  try {
    // While there still is a status to answer with: an unknown pattern or position is an error, not an empty stream.
    at = await begin(bus, topic, c.req.header('last-event-id') || c.req.query('after') || c.req.query('from') || 'end')
  } catch (error) {
    await live.close()
    throw error
  }
  c.header('x-accel-buffering', 'no')
  return streamSSE(c, async (stream) => {
    stream.onAbort(bell.ring)
    stopping.addEventListener('abort', bell.ring)
    const heartbeat = setInterval(() => void stream.write(': still here\n\n'), heartbeatMs)
    try {
      // The headers go out with the first byte: a reader must know at once that it follows.
      await stream.write(': following\n\n')
      while (!stream.aborted && !stopping.aborted) {
        bell.clear()
        const page = await read(bus, topic, at)
        await send(stream, page.messages)
        at = page.next
        if (page.messages.length === 0 && !stream.aborted && !stopping.aborted) await bell.wait(pollMs)
      }
    } catch {
      // The bus closed, or the reader left: it comes back with Last-Event-ID.
    } finally {
      clearInterval(heartbeat)
      stopping.removeEventListener('abort', bell.ring)
      await live.close()
    }
  })
}

type Page = Awaited<ReturnType<Bus['admin']['browse']>>

async function send(stream: SSEStreamingApi, messages: Page['messages']): Promise<void> {
  for (const stored of messages) {
    if (stream.aborted) return
    await stream.writeSSE({ id: stored.position, data: JSON.stringify(messageView(stored)) })
  }
}

async function listen(bus: Bus, topic: string, bell: Bell): Promise<{ close(): Promise<void> }> {
  try {
    return await bus.subscribe(topic, bell.ring)
  } catch (error) {
    // An engine without live subscriptions is polled.
    if (error instanceof BusError && error.code === 'unsupported') return { close: async () => {} }
    throw error
  }
}

/** The place to read from. @throws BusError `not_found` for a pattern that no definition declared */
async function begin(bus: Bus, topic: string, from: string): Promise<string> {
  try {
    const page = await bus.admin.browse(topic, { from, limit: 1 })
    return from === 'end' ? page.next : from
  } catch (error) {
    if (!isMissing(error)) throw error
    if (isPattern(topic))
      throw new BusError('not_found', `no topic is stored under the pattern '${topic}'; GET /v1/topics lists what can be followed`)
    // A topic that is not there yet will begin at its start.
    return from === 'end' ? 'start' : from
  }
}

async function read(bus: Bus, topic: string, at: string): Promise<{ messages: Page['messages']; next: string }> {
  try {
    return await bus.admin.browse(topic, { from: at, limit: pageSize })
  } catch (error) {
    // Not there yet, or deleted meanwhile: a new one of the name begins anew.
    if (isMissing(error)) return { messages: [], next: 'start' }
    throw error
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof BusError && error.code === 'not_found'
}
