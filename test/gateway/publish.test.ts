import { expect, test } from 'vitest'
import { topic } from '../../src/index.ts'
import { served } from './support.ts'

const { app, bus, call } = await served()
const stored = async (name: string): Promise<any[]> => (await call('GET', `/v1/topics/${name}/messages`)).body.messages

test('one message: the request body is the body; key, id, headers and trace come as headers', async () => {
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const sent = await call(
    'POST',
    '/v1/topics/p.one/messages',
    { n: 1 },
    {
      'cozebus-key': 'k',
      'cozebus-id': 'x1',
      'cozebus-header-tenant': '7',
      traceparent: trace,
    },
  )
  expect(sent).toMatchObject({ status: 201, body: { id: 'x1', topic: 'p.one', duplicate: false } })
  expect(await stored('p.one')).toMatchObject([{ id: 'x1', key: 'k', headers: { tenant: '7', traceparent: trace }, body: { n: 1 } }])
  expect((await call('POST', '/v1/topics/p.one/messages', { n: 1 }, { 'cozebus-id': 'x1' })).body.duplicate).toBe(true)
  expect(await stored('p.one')).toHaveLength(1)
})

test('JSON of any kind is a body, and so are no fields at all', async () => {
  for (const body of ['null', '0', '""', '[]', 'false']) expect((await call('POST', '/v1/topics/p.kinds/messages', body)).status).toBe(201)
  expect((await stored('p.kinds')).map(({ body }) => body)).toEqual([null, 0, '', [], false])
})

test('64-bit numbers arrive as they were, however they are sent and read', async () => {
  const exact = '{"id":9223372036854775807,"ratio":0.12345678901234567890,"list":[1,12345678901234567890]}'
  const path = '/v1/topics/p.exact/messages'
  await call('POST', path, exact)
  await call('POST', path, `${exact}\n`, { 'content-type': 'application/x-ndjson' })
  await call('POST', path, `[{"body":${exact}}]`, { 'content-type': 'application/vnd.cozebus.batch+json' })
  const text = async (response: Response | Promise<Response>): Promise<number> =>
    (await (await response).text()).split(`"body":${exact}`).length - 1
  expect(await text(app.request(path))).toBe(3)
  expect(await text(app.request('/v1/topics/p.exact/groups/g/pull', { method: 'POST', body: '{"max":3,"waitMs":5000}' }))).toBe(3)
  expect((await bus.admin.browse('p.exact')).messages.map(({ bytes }) => new TextDecoder().decode(bytes))).toEqual([exact, exact, exact])
})

test('bytes that are no UTF-8 are no JSON: refused, not mended', async () => {
  for (const type of ['application/json', 'application/x-ndjson', 'application/vnd.cozebus.batch+json']) {
    const body = new Uint8Array([0x22, 0xff, 0x22])
    const refused = await app.request('/v1/topics/p.utf8/messages', { method: 'POST', body, headers: { 'content-type': type } })
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([422, 'invalid_message'])
  }
})

test('any other type is bytes, untouched', async () => {
  const bytes = new Uint8Array([0, 255, 10, 13, 128])
  const types = ['application/octet-stream', 'text/plain', 'image/png']
  for (const type of types) {
    const sent = await app.request('/v1/topics/p.bytes/messages', { method: 'POST', body: bytes, headers: { 'content-type': type } })
    expect(sent.status).toBe(201)
  }
  const view = { base64: Buffer.from(bytes).toString('base64') }
  expect((await stored('p.bytes')).map(({ body }) => body)).toEqual([view, view, view])
})

test('JSON lines: one message each; a broken line publishes nothing', async () => {
  const ndjson = { 'content-type': 'application/x-ndjson' }
  const sent = await call('POST', '/v1/topics/p.lines/messages', '{"n":1}\n\n{"n":2}\r\n', { ...ndjson, 'cozebus-key': 'k' })
  expect(sent.status).toBe(201)
  expect(sent.body.outcomes).toMatchObject([{ ok: true }, { ok: true }])
  const broken = await call('POST', '/v1/topics/p.lines/messages', '{"n":3}\n{"n":', ndjson)
  expect(broken).toMatchObject({ status: 422, body: { code: 'invalid_message' } })
  expect(broken.body.detail).toContain('line 2')
  expect((await stored('p.lines')).map(({ body, key }) => [body.n, key])).toEqual([
    [1, 'k'],
    [2, 'k'],
  ])
})

test('a batch: an outcome a message, in order; one that fails hides no other', async () => {
  const batch = { 'content-type': 'application/vnd.cozebus.batch+json' }
  const sent = await call(
    'POST',
    '/v1/topics/p.batch/messages',
    [
      { body: { n: 1 }, id: 'a', key: 'k1', headers: { h: '1' } },
      { body: { n: 2 }, id: 'has a space' },
      { body: { n: 3 }, headers: { 'cozebus-id': 'reserved' } },
      { body: { n: 4 }, id: 'a' },
      { body: { n: 5 }, delay: '1h' },
    ],
    batch,
  )
  expect(sent.status).toBe(207)
  expect(sent.body.outcomes).toMatchObject([
    { ok: true, id: 'a', duplicate: false },
    { ok: false, error: { code: 'invalid_message' } },
    { ok: false, error: { code: 'invalid_message' } },
    { ok: true, id: 'a', duplicate: true },
    { ok: true },
  ])
  expect(await stored('p.batch')).toMatchObject([{ id: 'a', key: 'k1', headers: { h: '1' }, body: { n: 1 } }])
  const topics = (await call('GET', '/v1/topics')).body.topics
  expect(topics.find((info: any) => info.storage === 'p.batch').scheduled).toBe(1)
  for (const bad of [{}, [1], [{ key: 'k' }], [{ body: 1, key: 7 }], [{ body: 1, headers: 'h' }]])
    expect((await call('POST', '/v1/topics/p.none/messages', bad, batch)).body.code).toBe('invalid_argument')
  expect((await call('GET', '/v1/topics/p.none/messages')).status).toBe(404)
})

test.each([
  ['bad%20topic', '{}', {}, 400, 'invalid_topic'],
  ['%ff', '{}', {}, 400, 'invalid_argument'],
  ['a%zz', '{}', {}, 400, 'invalid_argument'],
  ['a%', '{}', {}, 400, 'invalid_argument'],
  ['a..b', '{}', {}, 400, 'invalid_topic'],
  ['a.*', '{}', {}, 400, 'invalid_topic'],
  ['x'.repeat(300), '{}', {}, 400, 'invalid_topic'],
  ['_cozebus.replay.x.y', '{}', {}, 400, 'invalid_topic'],
  ['a', '{no', {}, 422, 'invalid_message'],
  ['a', '', {}, 422, 'invalid_message'],
  ['a', '{}', { 'cozebus-delay': 'soon' }, 400, 'invalid_argument'],
  ['a', '{}', { 'cozebus-key': 'k'.repeat(1025) }, 422, 'invalid_message'],
  ['a', '{}', { 'cozebus-id': 'i'.repeat(129) }, 422, 'invalid_message'],
  ['a', 'x=1', { 'content-type': 'application/x-www-form-urlencoded' }, 400, 'invalid_argument'],
])('publishing to %.20s with %s %o is refused with problem details', async (name, body, headers, status, code) => {
  const refused = await call('POST', `/v1/topics/${name}/messages`, body, headers as Record<string, string>)
  expect(refused.headers.get('content-type')).toBe('application/problem+json')
  expect(refused).toMatchObject({ status, body: { type: `urn:cozebus:${code}`, status, code, title: code.replaceAll('_', ' ') } })
  expect(refused.body.detail.length).toBeGreaterThan(10)
})

test('a name inside a definition that a program declared reaches its subscribers', async () => {
  const docs = topic('p.docs.{space}.{event}')
  const got: unknown[] = []
  const work = await bus.subscribe(docs, { group: 'g' }, (message) => void got.push([message.params.space, message.body]))
  await expect.poll(async () => (await call('POST', '/v1/topics/p.docs.7.added/messages', { n: 1 })).status).toBe(201)
  await expect.poll(() => got).toEqual([['7', { n: 1 }]])
  expect((await call('GET', '/v1/topics/p.docs.7.added/groups')).body.groups).toMatchObject([{ storage: 'p.docs.*.*', group: 'g' }])
  expect((await call('GET', '/v1/topics/p.docs.8.added/messages')).body.messages).toEqual([])
  expect((await call('GET', '/v1/topics/p.docs.7.added/messages')).body.messages).toHaveLength(1)
  await work.close()
})
