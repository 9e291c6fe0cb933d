import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { afterAll, expect, test } from 'vitest'
import { routes } from '../../src/gateway/routes.ts'
import { served } from './support.ts'

const { app, bus, call } = await served({}, { defaults: { retry: { attempts: 1 }, breaker: false } })
const document = (await call('GET', '/openapi.json')).body
const ajv = new Ajv2020({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(document, 'document')

test('the document is valid OpenAPI 3.1', async () => {
  const result = await new Validator().validate(structuredClone(document))
  expect(result.errors ?? []).toEqual([])
  expect(result.valid).toBe(true)
})

test('every route that is served is in it, under a name of its own, and nothing else', () => {
  const listed = Object.entries(document.paths as Record<string, object>).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method} ${path}`),
  )
  // What the server answers to, from its own table.
  const registered = app.routes
    .filter(({ path, method }) => path !== '/*' && method !== 'ALL')
    .map(({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
  expect(listed.sort()).toEqual(registered.sort())
  const ids = routes.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})

const checked = new Set<string>()

/** Calls an operation, and holds the answer against the schema that the document has for its status. */
async function check(id: string, path: string, asked: { body?: unknown; type?: string; status?: number } = {}): Promise<any> {
  const route = routes.find((one) => one.id === id)!
  const url = new URL(path, 'http://localhost')
  expect(url.pathname).toMatch(new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`))
  const pointer = route.path.replaceAll('~', '~0').replaceAll('/', '~1')
  const at = `document#/paths/${encodeURIComponent(pointer)}/${route.method}`
  const type = asked.type ?? 'application/json'
  if (asked.body !== undefined && type.endsWith('json')) {
    expect(ajv.getSchema(`${at}/requestBody/content/${type.replaceAll('/', '~1')}/schema`)).toBeDefined()
  }
  const response = await app.request(url, {
    method: route.method.toUpperCase(),
    ...(asked.body === undefined
      ? {}
      : { body: typeof asked.body === 'string' ? asked.body : JSON.stringify(asked.body), headers: { 'content-type': type } }),
  })
  const status = asked.status ?? 200
  expect([id, response.status]).toEqual([id, status])
  const declared = document.paths[route.path][route.method].responses
  const which = status >= 400 && declared[status] === undefined ? 'default' : String(status)
  const media = response.headers.get('content-type')!.split(';')[0]!
  expect([id, Object.keys(declared[which].content)]).toEqual([id, [media]])
  const got = media.endsWith('json') ? await response.json() : await response.text()
  const valid = ajv.getSchema(`${at}/responses/${which}/content/${media.replaceAll('/', '~1').replace('+', '%2B')}/schema`)!
  valid(got)
  expect([id, got, valid.errors ?? []]).toEqual([id, got, []])
  mustBeDeclared(id, got, declared[which].content[media].schema)
  checked.add(id)
  return got
}

/** A field that the document does not know is as wrong as one that is missing. */
function mustBeDeclared(id: string, got: unknown, schema: any): void {
  if (Array.isArray(got)) for (const item of got) mustBeDeclared(id, item, schema.items ?? {})
  else if (typeof got === 'object' && got !== null && schema.properties) {
    expect([id, Object.keys(got).filter((name) => !(name in schema.properties))]).toEqual([id, []])
    for (const [name, value] of Object.entries(got)) mustBeDeclared(id, value, schema.properties[name])
  }
}

test('every documented reply is what the server gives', async () => {
  const t = '/v1/topics/d.t'
  const g = `${t}/groups/g`
  const batch = 'application/vnd.cozebus.batch+json'
  await check('publish', `${t}/messages`, { body: { n: 1 }, status: 201 })
  await check('publish', `${t}/messages`, { body: '{"n":2}\n{"n":3}', type: 'application/x-ndjson', status: 201 })
  await check('publish', `${t}/messages`, { body: [{ body: 4, key: 'k', headers: { h: '1' } }], type: batch, status: 201 })
  await check('publish', `${t}/messages`, { body: [{ body: 5 }, { body: 6, id: 'a b' }], type: batch, status: 207 })
  await check('publish', `${t}/messages`, { body: 'bytes', type: 'text/plain', status: 201 })
  await check('publish', '/v1/topics/a..b/messages', { body: 1, status: 400 })
  await check('listTopics', '/v1/topics')
  await check('browse', `${t}/messages`)
  const { messages } = await check('pull', `${g}/pull`, { body: { max: 3, waitMs: 5000 } })
  const [first, ...rest] = messages
  const results = rest.map(({ token }: { token: string }) => ({ token, ack: true }))
  await check('settle', `${g}/settle`, { body: { results: [{ token: 'gone', ack: true }, ...results] } })
  await check('settle', `${g}/settle`, { body: { results: [{ token: first.token, reject: { reason: 'no' } }] } })
  await expect.poll(async () => (await check('listDeadLetters', `${g}/dead-letters`)).deadLetters.length).toBe(1)
  const { deadLetters } = await check('listDeadLetters', `${g}/dead-letters?limit=5`)
  await check('getDeadLetter', `${g}/dead-letters/${deadLetters[0].id}`)
  await check('getDeadLetter', `${g}/dead-letters/gone`, { status: 404 })
  await check('listGroups', `${t}/groups`)
  await check('getGroup', g)
  await check('pause', `${g}/pause`)
  await check('resume', `${g}/resume`)
  await check('replayDeadLetters', `${g}/dead-letters/replay`, { body: { ids: [deadLetters[0].id] } })
  await check('discardDeadLetters', `${g}/dead-letters/discard`, { body: { filter: { key: 'none' } } })
  await bus.subscribe('d.other', { group: 'g' }, () => {}).then((work) => work.close())
  await check('reset', '/v1/topics/d.other/groups/g/reset', { body: { to: 'earliest' } })
  await check('deleteGroup', '/v1/topics/d.other/groups/g')
  await check('purge', '/v1/topics/d.other/messages')
  await check('deleteTopic', '/v1/topics/d.other')
  await check('health', '/healthz')
  await check('ready', '/readyz')
  await check('metrics', '/metrics')
  await check('openapi', '/openapi.json')
  await app.close()
  await check('ready', '/readyz', { status: 503 })
  expect([...checked, 'follow'].sort(), 'every route but the endless one').toEqual(routes.map(({ id }) => id).sort())
})

test('the stream is of the type it says', async () => {
  const other = await served()
  const response = await other.app.request('/v1/topics/d.t/events')
  expect(Object.keys(document.paths['/v1/topics/{topic}/events'].get.responses[200].content)).toEqual([
    response.headers.get('content-type'),
  ])
  await response.body!.cancel()
})

afterAll(() => bus.close())
