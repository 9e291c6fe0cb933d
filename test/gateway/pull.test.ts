import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startServer } from '../../src/gateway/server.ts'
import { served } from './support.ts'

// A retry comes at once: these tests are about who has a message, not when.
const { app, bus, call } = await served({}, { defaults: { retry: { attempts: 3, initial: 1, max: 1 } } })
const at = (name: string): string => `/v1/topics/${name}/groups/g`
const pull = async (name: string, asked: object = {}): Promise<any[]> =>
  (await call('POST', `${at(name)}/pull`, { waitMs: 5000, ...asked })).body.messages
const settle = async (name: string, ...results: object[]): Promise<any> =>
  (await call('POST', `${at(name)}/settle`, { results })).body.results
const lag = async (name: string): Promise<number> => (await call('GET', at(name))).body.lag

test('what is pulled and acknowledged is done', async () => {
  await bus.publishMany('l.ack', [1, 2, 3], { key: 'k', headers: { h: '1' } })
  const got = await pull('l.ack', { max: 3 })
  expect(got).toMatchObject([1, 2, 3].map((body) => ({ body, attempt: 1, topic: 'l.ack', key: 'k', headers: { h: '1' } })))
  const results = await settle('l.ack', ...got.map(({ token }) => ({ token, ack: true })))
  expect(results).toMatchObject([{ ok: true }, { ok: true }, { ok: true }])
  await expect.poll(() => lag('l.ack')).toBe(0)
  // A second word on the same message is not taken.
  expect(await settle('l.ack', { token: got[0].token, ack: true })).toMatchObject([{ ok: false }])
})

test('a long poll ends with the first message, and with none after its time', async () => {
  expect(await pull('l.poll', { waitMs: 50 })).toEqual([])
  const waiting = pull('l.poll', { waitMs: 20_000 })
  await bus.publish('l.poll', { n: 1 })
  expect(await waiting).toMatchObject([{ body: { n: 1 } }])
})

test('retry counts an attempt, reject makes a dead letter with the reason', async () => {
  await bus.publish('l.fail', { n: 1 })
  const [first] = await pull('l.fail')
  await settle('l.fail', { token: first.token, retry: { delayMs: 0, reason: 'not yet' } })
  const [second] = await pull('l.fail')
  expect(second).toMatchObject({ id: first.id, attempt: 2 })
  expect(second.token).not.toBe(first.token)
  await settle('l.fail', { token: second.token, reject: { reason: 'bad file' } })
  const letters = async (): Promise<any[]> => (await call('GET', `${at('l.fail')}/dead-letters`)).body.deadLetters
  await expect.poll(letters).toMatchObject([{ messageId: first.id, error: expect.stringContaining('bad file'), body: { n: 1 } }])
})

test('what is not settled in time is pulled again; its late word is refused', async () => {
  await bus.publish('l.late', { n: 1 })
  const [first] = await pull('l.late', { leaseMs: 100 })
  const [second] = await pull('l.late')
  expect(second).toMatchObject({ id: first.id, attempt: 2 })
  expect(await settle('l.late', { token: first.token, ack: true })).toMatchObject([{ ok: false, detail: expect.any(String) }])
  expect(await settle('l.late', { token: second.token, ack: true })).toMatchObject([{ ok: true }])
})

test('a lease that is extended lasts', async () => {
  await bus.publish('l.extend', { n: 1 })
  const [held] = await pull('l.extend', { leaseMs: 1500 })
  expect(await settle('l.extend', { token: held.token, extend: { leaseMs: 60_000 } })).toMatchObject([{ ok: true }])
  await sleep(2000)
  expect(await pull('l.extend', { waitMs: 0 })).toEqual([])
  expect(await settle('l.extend', { token: held.token, ack: true })).toMatchObject([{ ok: true }])
  expect(await settle('l.extend', { token: held.token, extend: { leaseMs: 1000 } })).toMatchObject([{ ok: false }])
})

test('pulls at once share the messages', async () => {
  const pulls = Array.from({ length: 5 }, () => pull('l.share', { max: 2 }))
  await bus.publishMany(
    'l.share',
    Array.from({ length: 10 }, (_, n) => n),
  )
  const got = (await Promise.all(pulls)).flat()
  const rest = got.length < 10 ? await pull('l.share', { max: 10 - got.length }) : []
  expect([...got, ...rest].map(({ body }) => body).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('a caller that goes away while it waits takes nothing along', async () => {
  const server = await startServer(bus, { host: '127.0.0.1', port: 0 })
  const gone = new AbortController()
  const body = JSON.stringify({ waitMs: 30_000, leaseMs: 600_000 })
  const waiting = fetch(`${server.url}${at('l.gone')}/pull`, { method: 'POST', body, signal: gone.signal }).catch(() => 'gone')
  await expect.poll(async () => (await call('GET', at('l.gone'))).body.members).toBe(1)
  gone.abort()
  expect(await waiting).toBe('gone')
  await sleep(100)
  await bus.publish('l.gone', { n: 1 })
  const next = await fetch(`${server.url}${at('l.gone')}/pull`, { method: 'POST', body })
  expect(((await next.json()) as any).messages).toMatchObject([{ body: { n: 1 }, attempt: 1 }])
  await server.close()
})

test('closing the gateway hands back what is held, as no attempt, and ends long polls', async () => {
  const { createGateway } = await import('../../src/gateway/app.ts')
  const other = createGateway(bus)
  const pullAt = async (name: string): Promise<any> => {
    const body = JSON.stringify({ waitMs: 30_000 })
    return (await other.request(`${at(name)}/pull`, { method: 'POST', body })).json()
  }
  await bus.publish('l.close', { n: 1 })
  expect((await pullAt('l.close')).messages).toHaveLength(1)
  const waiting = pullAt('l.empty')
  await sleep(100)
  await other.close()
  expect((await waiting).messages).toEqual([])
  expect(await pull('l.close')).toMatchObject([{ body: { n: 1 }, attempt: 1 }])
  expect((await other.request(`${at('l.close')}/pull`, { method: 'POST' })).status).toBe(503)
  expect((await other.request('/readyz')).status).toBe(503)
  expect((await other.request('/healthz')).status).toBe(200)
})

test.each([
  ['pull', { max: 0 }],
  ['pull', { max: 'many' }],
  ['pull', { waitMs: 60_001 }],
  ['pull', { leaseMs: 1 }],
  ['pull', []],
  ['settle', {}],
  ['settle', { results: [{}] }],
  ['settle', { results: [{ token: 't' }] }],
  ['settle', { results: [{ token: 't', ack: false }] }],
  ['settle', { results: [{ token: 't', ack: true, retry: {} }] }],
  ['settle', { results: [{ token: 't', retry: { delayMs: -1 } }] }],
  ['settle', { results: [{ token: 't', retry: true }] }],
  ['settle', { results: [{ token: 't', reject: {} }] }],
  ['settle', { results: [{ token: 't', extend: {} }] }],
])('%s %j is refused', async (what, body) => {
  expect(await call('POST', `${at('l.bad')}/${what}`, body)).toMatchObject({ status: 400, body: { code: 'invalid_argument' } })
})

test('a group name that cannot be one is refused', async () => {
  expect((await app.request('/v1/topics/l.bad/groups/a%20b/pull', { method: 'POST' })).status).toBe(400)
})
