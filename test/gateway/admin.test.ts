import { expect, test } from 'vitest'
import { topic } from '../../src/index.ts'
import { served } from './support.ts'

const { bus, call } = await served({}, { defaults: { retry: { attempts: 1 }, breaker: false } })

test('groups are shown with lag, paused, resumed, moved and deleted', async () => {
  const work = await bus.subscribe('a.groups', { group: 'g' }, () => {})
  await bus.publishMany('a.groups', [1, 2, 3])
  const group = async (): Promise<any> => (await call('GET', '/v1/topics/a.groups/groups/g')).body
  await expect.poll(group).toMatchObject({ storage: 'a.groups', group: 'g', lag: 0, members: 1, paused: false, deadLetters: 0 })
  expect((await call('POST', '/v1/topics/a.groups/groups/g/reset', { to: 'earliest' })).body.code).toBe('conflict')
  await work.close()
  expect((await call('POST', '/v1/topics/a.groups/groups/g/pause')).body).toEqual({ paused: true })
  expect(await group()).toMatchObject({ paused: true })
  expect((await call('POST', '/v1/topics/a.groups/groups/g/resume')).body).toEqual({ paused: false })
  for (const [to, lag] of [
    ['earliest', 3],
    ['new', 0],
    ['2020-01-01T00:00:00Z', 3],
    [String((await call('GET', '/v1/topics/a.groups/messages?limit=1')).body.next), 2],
  ] as const) {
    expect((await call('POST', '/v1/topics/a.groups/groups/g/reset', { to })).status).toBe(200)
    expect(await group()).toMatchObject({ lag, paused: false })
  }
  for (const to of [undefined, '', 5, '2020-99-99'])
    expect((await call('POST', '/v1/topics/a.groups/groups/g/reset', { to })).status).toBe(400)
  expect((await call('DELETE', '/v1/topics/a.groups/groups/g')).body).toEqual({ deleted: 'g' })
  expect((await call('GET', '/v1/topics/a.groups/groups')).body).toEqual({ groups: [] })
})

test('a mistyped topic or group is not found, whatever is asked of it', async () => {
  await bus.publish('a.there', 1)
  for (const [method, path] of [
    ['GET', '/v1/topics/a.gone/groups'],
    ['GET', '/v1/topics/a.gone/messages'],
    ['GET', '/v1/topics/a.gone/groups/g/dead-letters'],
    ['DELETE', '/v1/topics/a.gone'],
    ['DELETE', '/v1/topics/a.gone/messages'],
    ['GET', '/v1/topics/a.there/groups/gone'],
    ['DELETE', '/v1/topics/a.there/groups/gone'],
    ['POST', '/v1/topics/a.there/groups/gone/pause'],
    ['POST', '/v1/topics/a.there/groups/gone/resume'],
    ['GET', '/v1/topics/a.there/groups/g/dead-letters/none'],
  ] as const)
    expect([path, (await call(method, path)).body]).toMatchObject([path, { status: 404, code: 'not_found' }])
})

test('messages are browsed in pages, from a position, a time and the end', async () => {
  await bus.publishMany('a.browse', [0, 1, 2, 3, 4])
  const first = (await call('GET', '/v1/topics/a.browse/messages?limit=2')).body
  expect(first.messages.map(({ body }: any) => body)).toEqual([0, 1])
  const rest = (await call('GET', `/v1/topics/a.browse/messages?from=${first.next}`)).body
  expect(rest.messages.map(({ body }: any) => body)).toEqual([2, 3, 4])
  expect((await call('GET', '/v1/topics/a.browse/messages?from=end')).body.messages).toEqual([])
  expect((await call('GET', '/v1/topics/a.browse/messages?from=2020-01-01T00:00:00Z')).body.messages).toHaveLength(5)
  for (const query of ['limit=0', 'limit=x', 'limit=1001', 'from=nowhere', 'from=2020-13-45'])
    expect((await call('GET', `/v1/topics/a.browse/messages?${query}`)).status).toBe(400)
  expect((await call('DELETE', `/v1/topics/a.browse/messages?before=${rest.messages[0].position}`)).body).toEqual({ purged: 2 })
  expect((await call('DELETE', '/v1/topics/a.browse/messages')).body).toEqual({ purged: 3 })
  expect((await call('DELETE', '/v1/topics/a.browse')).body).toEqual({ deleted: 'a.browse' })
})

test('dead letters are listed in pages, looked at, replayed to their group only, and discarded', async () => {
  let broken = true
  const [mine, others]: unknown[][] = [[], []]
  const work = await bus.subscribe('a.dlq', { group: 'w' }, (message) => {
    if (broken) throw new Error(`broken ${message.body}`)
    mine!.push(message.body)
  })
  const other = await bus.subscribe('a.dlq', { group: 'o' }, (message) => void others!.push(message.body))
  const shelf = '/v1/topics/a.dlq/groups/w/dead-letters'
  const letters = async (query = ''): Promise<any[]> => (await call('GET', shelf + query)).body.deadLetters
  for (let n = 0; n < 4; n++) await bus.publish('a.dlq', n, { key: `k${n % 2}` })
  await expect.poll(async () => (await letters()).length).toBe(4)
  const page = await letters('?limit=3')
  expect([...page, ...(await letters(`?after=${page.at(-1).id}`))].map(({ id }) => id)).toEqual((await letters()).map(({ id }) => id))
  const one = (await call('GET', `${shelf}/${page[0].id}`)).body
  expect(one).toEqual(page[0])
  expect(one).toMatchObject({ topic: 'a.dlq', group: 'w', attempts: 1, error: expect.stringContaining(`broken ${one.body}`) })
  for (const bad of [
    {},
    { ids: 'x' },
    { filter: { kye: 'x' } },
    { filter: { since: 'soon' } },
    { ids: [], filter: {} },
    [],
    { filter: [] },
  ])
    expect((await call('POST', `${shelf}/discard`, bad)).status).toBe(400)
  expect(await letters()).toHaveLength(4)
  broken = false
  expect((await call('POST', `${shelf}/replay`, { ids: [one.id] })).body).toEqual({ replayed: 1 })
  await expect.poll(() => mine).toEqual([one.body])
  expect(
    (await call('POST', `${shelf}/discard`, { filter: { key: 'k0', error: 'broken', since: '2020-01-01T00:00:00Z' } })).body.discarded,
  ).toBeGreaterThan(0)
  expect((await letters()).every(({ key }) => key === 'k1')).toBe(true)
  await call('POST', `${shelf}/replay`, { filter: {} })
  await expect.poll(letters).toEqual([])
  expect(others).toEqual([0, 1, 2, 3])
  await Promise.all([work.close(), other.close()])
})

test('by one name of a definition nothing is done to a group that takes its other names too', async () => {
  const docs = topic('own.{space}.{event}')
  for (const [filter, group] of [
    [docs, 'all'],
    ['own.7.added', 'one'],
  ] as const)
    await (await bus.subscribe(filter, { group }, () => {})).close()
  const path = (group: string): string => `/v1/topics/own.7.added/groups/${group}`
  for (const [method, rest, body] of [
    ['GET', '', undefined],
    ['DELETE', '', undefined],
    ['POST', '/pause', undefined],
    ['POST', '/reset', { to: 'new' }],
    ['GET', '/dead-letters', undefined],
    ['POST', '/dead-letters/discard', { filter: {} }],
  ] as const)
    expect([method, rest, await call(method, path('all') + rest, body)]).toMatchObject([
      method,
      rest,
      { status: 404, body: { code: 'not_found', detail: expect.stringContaining("ask for 'own.*.*'") } },
    ])
  expect((await call('GET', `${path('one')}/dead-letters`)).body).toEqual({ deadLetters: [] })
  expect((await call('DELETE', path('one'))).body).toEqual({ deleted: 'one' })
  expect((await bus.admin.groups(docs)).map(({ group, paused }) => [group, paused])).toEqual([['all', false]])
})
