import type { Context } from 'hono'
import { placeOrTime } from '../admin/place.ts'
import { BusError } from '../errors.ts'
import { fields, groupOf, textOr, topicOf } from './input.ts'
import { ok, type Route, type Scope } from './route.ts'
import { count, flag, list, object, text } from './schemas.ts'

const group = object({
  storage: text,
  group: text,
  'filter?': text,
  lag: { ...count, description: 'messages that nobody of the group has settled, those in hand included' },
  inHand: count,
  waiting: count,
  members: count,
  'oldestMs?': count,
  deadLetters: count,
  paused: flag,
})

export const groupRoutes: readonly Route[] = [
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups',
    id: 'listGroups',
    summary: 'Groups of a topic, with their lag',
    replies: ok('The groups', object({ groups: list(group) })),
    handle: async ({ bus, stored }, c) => c.json({ groups: await bus.admin.groups(await stored.storage(topicOf(c))) }),
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups/{group}',
    id: 'getGroup',
    summary: 'One group, with its lag',
    replies: ok('The group', group),
    handle: async (scope, c) => c.json(await find(scope, c)),
  },
  {
    method: 'delete',
    path: '/v1/topics/{topic}/groups/{group}',
    id: 'deleteGroup',
    summary: 'Delete a group without members',
    replies: ok('Deleted', object({ deleted: text })),
    handle: async (scope, c) => {
      const { storage, group } = await find(scope, c)
      await scope.bus.admin.deleteGroup(storage, group)
      return c.json({ deleted: group })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/pause',
    id: 'pause',
    summary: 'Stop handing out messages to a group',
    replies: ok('Paused', object({ paused: flag })),
    handle: async (scope, c) => {
      const { storage, group } = await find(scope, c)
      await scope.bus.admin.pause(storage, group)
      return c.json({ paused: true })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/resume',
    id: 'resume',
    summary: 'Hand out messages to a group again',
    replies: ok('Resumed', object({ paused: flag })),
    handle: async (scope, c) => {
      const { storage, group } = await find(scope, c)
      await scope.bus.admin.resume(storage, group)
      return c.json({ paused: false })
    },
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/reset',
    id: 'reset',
    summary: 'Move a group that has no members',
    request: { 'application/json': object({ to: { ...text, description: 'earliest, new, a position, or a time (ISO 8601)' } }) },
    replies: ok('Moved', object({ reset: text })),
    handle: async (scope, c) => {
      const to = textOr((await fields(c))['to'], 'to', undefined)
      if (!to) throw new BusError('invalid_argument', "give { to: 'earliest' | 'new' | a position | a time }")
      const { storage, group } = await find(scope, c)
      await scope.bus.admin.reset(storage, group, { to: placeOrTime(to, 'to') })
      return c.json({ reset: to })
    },
  },
]

/** @throws BusError `not_found`: a mistyped name must not look like a group at rest */
async function find({ bus, stored }: Scope, c: Context) {
  return bus.admin.group(await stored.storageOfGroup(topicOf(c), groupOf(c)), groupOf(c))
}
