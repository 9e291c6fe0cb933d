import type { Context } from 'hono'
import type { DeadLetterDesk, DeadLetterFilter, DeadLetterView } from '../admin/dead-letter-desk.ts'
import { timeOf } from '../admin/place.ts'
import { BusError } from '../errors.ts'
import { bodyView } from '../message/exact-json.ts'
import { fields, groupOf, isObject, textOr, topicOf, whole } from './input.ts'
import { ok, type Route, type Scope } from './route.ts'
import { count, list, messageFields, object, pageLimit, text, time } from './schemas.ts'

const letter = object({
  ...messageFields,
  storage: text,
  group: text,
  messageId: text,
  attempts: count,
  crashes: count,
  firstFailure: time,
  lastFailure: time,
  error: text,
  replays: count,
})

const which = {
  'application/json': {
    oneOf: [
      object({ ids: list(text) }),
      object({ filter: object({ 'topic?': text, 'key?': text, 'error?': text, 'since?': time, 'until?': time }) }),
    ],
  },
}

export const deadLetterRoutes: readonly Route[] = [
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters',
    id: 'listDeadLetters',
    summary: 'Dead letters of a group',
    query: { limit: pageLimit(100), after: 'the last id of the page before' },
    replies: ok('A page in the order of ids', object({ deadLetters: list(letter) })),
    handle: async (scope, c) => {
      const after = c.req.query('after')
      const limit = whole(c.req.query('limit'), 'limit', 1, 1000, 100)
      const letters = await (await deskOf(scope, c)).list({ limit, ...(after === undefined ? {} : { after }) })
      return c.json({ deadLetters: letters.map(letterView) })
    },
  },
  {
    method: 'get',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters/{id}',
    id: 'getDeadLetter',
    summary: 'One dead letter',
    replies: ok('The dead letter', letter),
    handle: async (scope, c) => c.json(letterView(await (await deskOf(scope, c)).get(c.req.param('id')!))),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters/replay',
    id: 'replayDeadLetters',
    summary: 'Give dead letters to their group again, and to no other',
    request: which,
    replies: ok('How many', object({ replayed: count })),
    handle: async (scope, c) => c.json({ replayed: await (await deskOf(scope, c)).replay(await chosen(c)) }),
  },
  {
    method: 'post',
    path: '/v1/topics/{topic}/groups/{group}/dead-letters/discard',
    id: 'discardDeadLetters',
    summary: 'Delete dead letters',
    request: which,
    replies: ok('How many', object({ discarded: count })),
    handle: async (scope, c) => c.json({ discarded: await (await deskOf(scope, c)).discard(await chosen(c)) }),
  },
]

async function deskOf({ bus, stored }: Scope, c: Context): Promise<DeadLetterDesk> {
  return bus.admin.deadLetters(await stored.storageOfGroup(topicOf(c), groupOf(c)), groupOf(c))
}

function letterView(letter: DeadLetterView) {
  const { bytes: _, ...shown } = letter
  return { ...shown, body: bodyView(letter) }
}

/** Nothing given is refused: all of them must be asked for by an empty filter. */
async function chosen(c: Context): Promise<string[] | DeadLetterFilter> {
  const { ids, filter } = await fields(c)
  if (Array.isArray(ids) && filter === undefined && ids.every((id) => typeof id === 'string')) return ids
  if (!isObject(filter) || ids !== undefined) throw new BusError('invalid_argument', 'say which: { ids: [...] }, or { filter: {} } for all')
  const unknown = Object.keys(filter).find((name) => !['topic', 'key', 'error', 'since', 'until'].includes(name))
  // A mistyped condition would choose all of them.
  if (unknown !== undefined) throw new BusError('invalid_argument', `the filter knows no '${unknown}'`)
  const texts = ['topic', 'key', 'error'].map((name) => [name, textOr(filter[name], `filter.${name}`, undefined)] as const)
  const times = ['since', 'until'].map((name) => [name, timeIn(filter[name], `filter.${name}`)] as const)
  return Object.fromEntries([...texts, ...times].filter(([, value]) => value !== undefined)) as DeadLetterFilter
}

function timeIn(value: unknown, name: string): Date | undefined {
  const source = textOr(value, name, undefined)
  return source === undefined ? undefined : timeOf(source, name)
}
