import { placeOrTime } from '../admin/place.ts'
import { topicOf, whole } from './input.ts'
import { ok, type Route } from './route.ts'
import { count, list, messageFields, object, pageLimit, text } from './schemas.ts'
import { messageView } from './views.ts'

const topic = object({ storage: text, messages: count, bytes: count, 'firstAt?': count, 'lastAt?': count, scheduled: count })
const stored = object({ ...messageFields, position: text })

export const topicRoutes: readonly Route[] = [
  {
    method: 'get',
    path: '/v1/topics',
    id: 'listTopics',
    summary: 'All topics',
    replies: ok('In the order of names', object({ topics: list(topic) })),
    handle: async ({ bus }, c) => c.json({ topics: await bus.admin.topics() }),
  },
  {
    method: 'delete',
    path: '/v1/topics/{topic}',
    id: 'deleteTopic',
    summary: 'Delete a topic without members',
    replies: ok('Deleted', object({ deleted: text })),
    handle: async ({ bus }, c) => {
      await bus.admin.deleteTopic(topicOf(c))
      return c.json({ deleted: topicOf(c) })
    },
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/messages',
    id: 'browse',
    summary: 'Browse stored messages',
    query: { from: 'start (default), end, a position, or a time (ISO 8601)', limit: pageLimit(50) },
    replies: ok('A page; the next one begins at next', object({ messages: list(stored), next: text })),
    handle: async ({ bus, stored }, c) => {
      const limit = whole(c.req.query('limit'), 'limit', 1, 1000, 50)
      const from = placeOrTime(c.req.query('from') ?? 'start', 'from')
      const topic = topicOf(c)
      const storage = await stored.storage(topic)
      const page = await bus.admin.browse(storage, { from, limit })
      // One name of a definition: its storage holds those of others too.
      const shown = storage === topic ? page.messages : page.messages.filter((message) => message.topic === topic)
      return c.json({ messages: shown.map((message) => ({ ...messageView(message), position: message.position })), next: page.next })
    },
  },
  {
    method: 'delete',
    path: '/v1/topics/{topic}/messages',
    id: 'purge',
    summary: 'Delete the messages of a topic, whoever still wants them',
    query: { before: 'a position: only those before it' },
    replies: ok('How many', object({ purged: count })),
    handle: async ({ bus }, c) => {
      const before = c.req.query('before')
      return c.json({ purged: await bus.admin.purge(topicOf(c), before === undefined ? {} : { before }) })
    },
  },
]
