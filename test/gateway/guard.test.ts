import { get } from 'node:http'
import { expect, test } from 'vitest'
import { startServer } from '../../src/gateway/server.ts'
import { served } from './support.ts'

const { app, bus, call } = await served()
const own = { host: '127.0.0.1:4280' }

test.each([
  ['a page of another site', { origin: 'http://evil.example' }],
  ['a page on another port of this machine', { origin: 'http://localhost:3000' }],
  ['a page without an origin of its own (a sandboxed frame, a file)', { origin: 'null' }],
  ['an image or a form of another site, which may come without an origin', { 'sec-fetch-site': 'cross-site' }],
])('%s cannot publish or read', async (_who, headers) => {
  for (const method of ['POST', 'GET', 'OPTIONS']) {
    const refused = await app.request('http://127.0.0.1:4280/v1/topics/guard.page/messages', {
      method,
      headers: { ...own, 'content-type': 'text/plain', ...headers },
      ...(method === 'POST' ? { body: 'x' } : {}),
    })
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([403, 'forbidden'])
    expect(refused.headers.get('access-control-allow-origin')).toBeNull()
  }
  expect(await bus.admin.topics()).toEqual([])
})

test('a page served from here may call, and so may whatever is no page', async () => {
  for (const headers of [{ origin: 'http://127.0.0.1:4280' }, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, {}])
    expect((await app.request('http://127.0.0.1:4280/v1/topics', { headers: headers as Record<string, string> })).status).toBe(200)
})

test.each(['evil.example', '127.0.0.1.evil.example', '10.0.0.1', 'localhost.evil.example'])(
  'the name %s, pointed here by somebody else, is refused without a token',
  async (host) => {
    const refused = await app.request(`http://${host}:4280/v1/topics`)
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([403, 'forbidden'])
    // A probe may call by any name.
    expect((await app.request(`http://${host}:4280/healthz`)).status).toBe(200)
  },
)

test.each(['127.0.0.1', 'localhost', '[::1]', '127.8.9.10'])('%s is this machine', async (host) => {
  expect((await app.request(`http://${host}:4280/v1/topics`)).status).toBe(200)
})

test('the name in the Host header counts, over a real connection', async () => {
  const server = await startServer(bus, { host: '127.0.0.1', port: 0 })
  const status = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: new URL(server.url).port, path: '/v1/topics', headers: { host } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
  expect([await status('evil.example'), await status('evil.example:4280'), await status('localhost:4280')]).toEqual([403, 403, 200])
  await server.close()
})

test('an allowed origin passes, with what a browser asks for first', async () => {
  const { app } = await served({ origins: ['http://localhost:3000'], token: 'secret' })
  const asked = await app.request('http://bus.example/v1/topics', {
    method: 'OPTIONS',
    headers: { origin: 'http://localhost:3000', 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' },
  })
  expect(asked.status).toBe(204)
  expect(asked.headers.get('access-control-allow-origin')).toBe('http://localhost:3000')
  const headers = { origin: 'http://localhost:3000', authorization: 'Bearer secret' }
  const got = await app.request('http://bus.example/v1/topics', { headers })
  expect([got.status, got.headers.get('access-control-allow-origin')]).toEqual([200, 'http://localhost:3000'])
  expect((await app.request('http://bus.example/v1/topics', { headers: { ...headers, origin: 'http://evil.example' } })).status).toBe(403)
})

test('a token is asked of everything but the health endpoints', async () => {
  const { app } = await served({ token: 'secret' })
  const status = async (path: string, authorization?: string): Promise<number> =>
    (await app.request(`http://bus.example${path}`, authorization === undefined ? {} : { headers: { authorization } })).status
  for (const path of ['/v1/topics', '/metrics', '/openapi.json', '/nothing', '/v1/topics/a/events']) {
    expect(await status(path)).toBe(401)
    expect(await status(path, 'Bearer wrong')).toBe(401)
    expect(await status(path, 'secret')).toBe(401)
    expect(await status(path, 'Bearer ')).toBe(401)
  }
  expect(await status('/v1/topics', 'Bearer secret')).toBe(200)
  expect(await status('/v1/topics', 'bearer secret')).toBe(200)
  expect([await status('/healthz'), await status('/readyz')]).toEqual([200, 200])
})

test('a body is not even read for a caller without the token', async () => {
  const { app } = await served({ token: 'secret', maxBodyBytes: 100 })
  let read = 0
  const body = new ReadableStream({
    pull(controller) {
      read++
      controller.enqueue(new Uint8Array(1000))
      if (read > 5) controller.close()
    },
  })
  const refused = await app.request('/v1/topics/a/messages', { method: 'POST', body, duplex: 'half' } as RequestInit)
  expect(refused.status).toBe(401)
  expect(read).toBeLessThan(3)
})

test('beyond loopback it does not start without a token', async () => {
  for (const host of ['0.0.0.0', '::', '192.168.1.1', ''])
    await expect(startServer(bus, { host, port: 0 })).rejects.toMatchObject({ code: 'invalid_argument' })
})

test('a request larger than the limit is refused, whether it says so or not', async () => {
  const { app, call } = await served({ maxBodyBytes: 1000 })
  expect(await call('POST', '/v1/topics/a/messages', 'x'.repeat(2000))).toMatchObject({ status: 413, body: { code: 'message_too_large' } })
  let left = 10
  const body = new ReadableStream({
    pull: (controller) => (left-- > 0 ? controller.enqueue(new Uint8Array(500)) : controller.close()),
  })
  const chunked = await app.request('/v1/topics/a/messages', { method: 'POST', body, duplex: 'half' } as RequestInit)
  expect(chunked.status).toBe(413)
  expect((await call('GET', '/v1/topics')).body.topics).toEqual([])
})

test('a method that a path has not is refused with those it has', async () => {
  const { status, headers, body } = await call('PUT', '/v1/topics/a/messages')
  expect([status, headers.get('allow'), body.code]).toEqual([405, 'POST, GET, DELETE', 'invalid_argument'])
})
