import { afterAll, expect, test } from 'vitest'
import { createGateway } from '../../src/gateway/app.ts'
import { connect } from '../../src/index.ts'

const bus = await connect('memory:')
const app = createGateway(bus, { maxBodyBytes: 10_000 })
afterAll(() => bus.close())
const parsed = async (response: Response | Promise<Response>): Promise<any> => (await response).json()
const post = (path: string, body: string, headers: Record<string, string> = {}) =>
  app.request(path, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })

async function events(path: string, count: number, headers: Record<string, string> = {}): Promise<{ id: string; body: unknown }[]> {
  const response = await app.request(path, { headers })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  const found: { id: string; body: unknown }[] = []
  let text = ''
  while (found.length < count) {
    const { value, done } = await reader.read()
    if (done) break
    text += value
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const block = text.slice(0, end)
      text = text.slice(end + 2)
      const data = /^data: (.*)$/m.exec(block)?.[1]
      if (data) found.push({ id: /^id: (.*)$/m.exec(block)![1]!, body: JSON.parse(data).body })
    }
  }
  await reader.cancel()
  return found
}

test('publishes one and many, and browses them', async () => {
  const one = await post('/v1/topics/g.one/messages', '{"n":1}', { 'cozebus-key': 'k', 'cozebus-id': 'x1' })
  expect(one.status).toBe(201)
  expect(await one.json()).toMatchObject({ id: 'x1', duplicate: false })
  const many = await post('/v1/topics/g.one/messages', '{"n":2}\n{"n":3}\n', { 'content-type': 'application/x-ndjson' })
  expect((await parsed(many)).outcomes.length).toBe(2)
  const page = await parsed(app.request('/v1/topics/g.one/messages'))
  expect(page.messages.map((message: { body: { n: number } }) => message.body.n)).toEqual([1, 2, 3])
})

test('a follower that reconnects with Last-Event-ID misses nothing', async () => {
  for (let n = 0; n < 5; n++) await post('/v1/topics/g.sse/messages', `{"n":${n}}`)
  const first = await events('/v1/topics/g.sse/events?from=start', 3)
  for (let n = 5; n < 8; n++) await post('/v1/topics/g.sse/messages', `{"n":${n}}`)
  const rest = await events('/v1/topics/g.sse/events', 5, { 'last-event-id': first.at(-1)!.id })
  expect([...first, ...rest].map(({ body }) => (body as { n: number }).n)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
})

test('dead letters are listed and replayed', async () => {
  let broken = true
  let handled = 0
  const work = await bus.subscribe('g.dlq', { group: 'w', retry: { attempts: 1 } }, () => {
    if (broken) throw new Error('broken')
    handled++
  })
  await post('/v1/topics/g.dlq/messages', '{}')
  await expect.poll(async () => (await parsed(app.request('/v1/topics/g.dlq/groups/w/dead-letters'))).deadLetters.length).toBe(1)
  broken = false
  expect(await parsed(post('/v1/topics/g.dlq/groups/w/dead-letters/replay', '{"filter":{}}'))).toEqual({ replayed: 1 })
  await expect.poll(() => handled).toBe(1)
  expect((await parsed(app.request('/v1/topics/g.dlq/groups'))).groups[0]).toMatchObject({ group: 'w', deadLetters: 0 })
  await work.close()
})

test.each([
  ['/v1/topics/bad%20topic/messages', '{}', 400, 'invalid_topic'],
  ['/v1/topics/a/messages', '{no', 422, 'invalid_message'],
  ['/v1/topics/a/messages', `"${'x'.repeat(20_000)}"`, 413, 'message_too_large'],
  ['/v1/nothing', '{}', 404, 'not_found'],
])('%s answers with problem details', async (path, body, status, code) => {
  const response = await post(path, body)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect([response.status, (await parsed(response)).code]).toEqual([status, code])
})

test('a token is asked of everything but the health endpoints', async () => {
  const guarded = createGateway(bus, { token: 'secret' })
  expect((await guarded.request('/v1/topics')).status).toBe(401)
  expect((await guarded.request('/v1/topics', { headers: { authorization: 'Bearer wrong' } })).status).toBe(401)
  expect((await guarded.request('/v1/topics', { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
  expect((await guarded.request('/healthz')).status).toBe(200)
  expect((await guarded.request('/readyz')).status).toBe(200)
})

test('metrics and the OpenAPI document', async () => {
  expect(await (await app.request('/metrics')).text()).toContain('cozebus_group_lag')
  const document = await parsed(app.request('/openapi.json'))
  expect(Object.keys(document.paths)).toContain('/v1/topics/{topic}/messages')
})
