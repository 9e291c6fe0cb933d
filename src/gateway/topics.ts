import { BusError } from '../errors.ts'
import { fields, groupOf, textOr, topicOf, whole } from './input.ts'
import { ok, type Route } from './route.ts'
import { count, flag, list, message, object, text } from './schemas.ts'
import { messageView } from './views.ts'

const topic = object({ storage: text, messages: count, bytes: count, 'firstAt?': count, 'lastAt?': count, scheduled: count })
const group = object({
  storage: text,
  group: text,
  'filter?': text,
  lag: count,
  inHand: count,
  waiting: count,
  members: count,
  'oldestMs?': count,
  deadLetters: count,
  paused: flag,
})

export const topicRoutes: readonly Route[] = [
  {
    method: 'get',
    path: '/v1/topics',
    summary: 'All topics',
    replies: ok('In the order of names', object({ topics: list(topic) })),
    handle: async ({ bus }, c) => c.json({ topics: await bus.admin.topics() }),
  },
  {
    method: 'delete',
    path: '/v1/topics/{topic}',
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
    summary: 'Browse stored messages',
    query: { from: 'start (default), end or a position', limit: 'at most; default 50' },
    replies: ok('A page; the next one begins at next', object({ messages: list(message), next: text })),
    handle: async ({ bus }, c) => {
      const limit = whole(c.req.query('limit'), 'limit', 1, 1000, 50)
      const page = await bus.admin.browse(topicOf(c), { from: c.req.query('from') ?? 'start', limit })
      return c.json({ messages: page.messages.map((stored) => ({ ...messageView(stored), position: stored.position })), next: page.next })
    },
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups',
    summary: 'Groups of a topic, with their lag',
    replies: ok('The groups', object({ groups: list(group) })),
    handle: async ({ bus }, c) => c.json({ groups: await bus.admin.groups(topicOf(c)) }),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/pause',
    summary: 'Stop handing out messages to a group',
    replies: ok('Paused', object({ paused: flag })),
    handle: async ({ bus }, c) => {
      await bus.admin.pause(topicOf(c), groupOf(c))
      return c.json({ paused: true })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/resume',
    summary: 'Hand out messages to a group again',
    replies: ok('Resumed', object({ paused: flag })),
    handle: async ({ bus }, c) => {
      await bus.admin.resume(topicOf(c), groupOf(c))
      return c.json({ paused: false })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/reset',
    summary: 'Move a group that has no members',
    request: { 'application/json': object({ to: { ...text, description: 'earliest, new, a position, or a time (ISO 8601)' } }) },
    replies: ok('Moved', object({ reset: text })),
    handle: async ({ bus }, c) => {
      const to = textOr((await fields(c))['to'], 'to', undefined)
      if (!to) throw new BusError('invalid_argument', "give { to: 'earliest' | 'new' | a position | a time }")
      await bus.admin.reset(topicOf(c), groupOf(c), { to: /^\d{4}-\d\d-\d\dT/.test(to) ? new Date(to) : to })
      return c.json({ reset: to })
    },
  },
]
