import type { Context } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { checkPattern } from '../topic/name.ts'
import { Bell } from './bell.ts'
import { topicOf } from './input.ts'
import { Reader } from './reader.ts'
import type { Route, Scope } from './route.ts'
import { text } from './schemas.ts'
import { messageView } from './views.ts'

/** How long a reader that heard no ring waits at most: a ring is a hint, the stored messages are the truth. */
const pollMs = 1000

export const followRoute: Route = {
  method: 'get',
  path: '/v1/topics/{topic}/events',
  id: 'follow',
  summary: 'Follow a topic or a pattern by server-sent events; Last-Event-ID resumes without a gap',
  query: { from: 'start, end (default), or the id of an event', after: 'the id of an event; the same as Last-Event-ID' },
  headers: { 'Last-Event-ID': 'the id of the last event seen' },
  replies: {
    200: {
      description:
        'Each event has an id and, as data, a message in JSON. The first event has an id and no data: where the stream begins, so that a reader who saw nothing yet can resume too.',
      content: { 'text/event-stream': text },
    },
  },
  handle: follow,
}

/** Pages from where the reader stands; a live subscription rings when there is more, so that nothing is missed and little is polled. */
async function follow(scope: Scope, c: Context): Promise<Response> {
  const { bus, stored, stopping, heartbeatMs } = scope
  const topic = topicOf(c)
  checkPattern(topic)
  if (stopping.aborted) throw new BusError('closed', 'the gateway is closing')
  // A reader of the headers alone never reads what a stream would bring.
  if (c.req.method === 'HEAD') return c.body(null, 200, { 'content-type': 'text/event-stream' })
  const bell = new Bell()
  // Before the place is fixed: a message between the two would ring nobody.
  const live = await listen(bus, topic, bell)
  const reader = new Reader(bus, stored, topic)
  try {
    // While there still is a status to answer with: a wrong position is an error, not an empty stream.
    await reader.begin(c.req.header('last-event-id') || c.req.query('after') || c.req.query('from') || 'end')
  } catch (error) {
    await live.close()
    throw error
  }
  c.header('x-accel-buffering', 'no')
  return streamSSE(c, async (stream) => {
    const over = (): boolean => stream.aborted || stopping.aborted
    let writing = false
    const write = async (chunk: string): Promise<void> => {
      writing = true
      await stream.write(chunk)
      writing = false
    }
    stream.onAbort(bell.ring)
    stopping.addEventListener('abort', bell.ring)
    // One who does not read gets none: it would only pile up.
    const heartbeat = setInterval(() => void (writing || write(': still here\n\n')), heartbeatMs)
    try {
      // The headers go out with the first byte: a reader must know at once that it follows.
      await write(`: following\nid: ${reader.id}\n\n`)
      while (!over()) {
        bell.clear()
        let found = false
        for await (const { id, message } of reader.next()) {
          found = true
          if (over()) return
          await write(`id: ${id}\ndata: ${JSON.stringify(messageView(message))}\n\n`)
        }
        if (!found && !over()) await bell.wait(pollMs)
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

async function listen(bus: Bus, topic: string, bell: Bell): Promise<{ close(): Promise<void> }> {
  try {
    return await bus.subscribe(topic, bell.ring)
  } catch (error) {
    // An engine without live subscriptions is polled.
    if (error instanceof BusError && error.code === 'unsupported') return { close: async () => {} }
    throw error
  }
}
