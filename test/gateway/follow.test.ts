import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { startServer } from '../../src/gateway/server.ts'
import { topic } from '../../src/index.ts'
import { messages, readEvents, type ServerEvent, served } from './support.ts'

const { app, bus, call } = await served()
const numbers = (events: readonly ServerEvent[]): number[] => messages(events).map(({ data }) => data.body.n)
const upTo = (count: number) => (events: readonly ServerEvent[]) => messages(events).length >= count
const follow = async (path: string, headers: Record<string, string> = {}): Promise<Response> => app.request(path, { headers })
const publish = async (name: string, from: number, to: number): Promise<void> => {
  for (let n = from; n < to; n++) await bus.publish(name, { n })
}

test('a follower that reconnects with Last-Event-ID misses nothing and sees nothing twice', async () => {
  await publish('f.resume', 0, 5)
  const first = await readEvents(await follow('/v1/topics/f.resume/events?from=start'), upTo(3))
  await publish('f.resume', 5, 8)
  const last = first.at(-1)!.id
  const rest = await readEvents(await follow('/v1/topics/f.resume/events', { 'last-event-id': last }), upTo(5))
  expect([...numbers(first), ...numbers(rest)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(numbers(await readEvents(await follow(`/v1/topics/f.resume/events?after=${last}`), upTo(5)))).toEqual([3, 4, 5, 6, 7])
})

test('one who saw no message yet can resume all the same: the first event says where it stands', async () => {
  await publish('f.early', 0, 2)
  const [begun] = await readEvents(await follow('/v1/topics/f.early/events'), (events) => events.length > 0)
  await publish('f.early', 2, 4)
  const rest = await readEvents(await follow('/v1/topics/f.early/events', { 'last-event-id': begun!.id }), upTo(2))
  expect(numbers(rest)).toEqual([2, 3])
})

test('a topic that is not there yet is followed from its first message', async () => {
  const response = await follow('/v1/topics/f.later/events')
  const reading = readEvents(response, upTo(2))
  await publish('f.later', 0, 2)
  expect(numbers(await reading)).toEqual([0, 1])
  const [begun] = await readEvents(await follow('/v1/topics/f.never/events'), (events) => events.length > 0)
  await publish('f.never', 0, 1)
  expect(numbers(await readEvents(await follow('/v1/topics/f.never/events', { 'last-event-id': begun!.id }), upTo(1)))).toEqual([0])
})

test('a pattern is followed over all topics it meets, those that come later too, and resumed over all of them', async () => {
  await publish('f.many.a', 0, 2)
  await publish('f.many.b', 2, 4)
  const first = await readEvents(await follow('/v1/topics/f.many.*/events?from=start'), upTo(3))
  await publish('f.many.c', 4, 6)
  await publish('f.many.a', 6, 7)
  const headers = { 'last-event-id': first.at(-1)!.id }
  const rest = await readEvents(await follow('/v1/topics/f.many.*/events', headers), upTo(4))
  expect([...numbers(first), ...numbers(rest)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6])
})

test('one name of a definition is followed without those of others', async () => {
  const docs = topic('f.docs.{space}.{event}')
  await bus.publish(docs.with({ space: '7', event: 'added' }), { n: 1 })
  await bus.publish(docs.with({ space: '8', event: 'added' }), { n: 2 })
  await bus.publish(docs.with({ space: '7', event: 'added' }), { n: 3 })
  expect(numbers(await readEvents(await follow('/v1/topics/f.docs.7.added/events?from=start'), upTo(2)))).toEqual([1, 3])
  expect(numbers(await readEvents(await follow('/v1/topics/f.docs.*.added/events?from=start'), upTo(3)))).toEqual([1, 2, 3])
  const following = readEvents(await follow('/v1/topics/f.docs.7.added/events?from=start'), upTo(3))
  await bus.publish(docs.with({ space: '7', event: 'added' }), { n: 4 })
  expect(numbers(await following)).toEqual([1, 3, 4])
})

test.each([
  ['/v1/topics/f.resume/events?from=yesterday', 400, 'invalid_argument'],
  ['/v1/topics/f.resume/events?after=a/b/c', 400, 'invalid_argument'],
  ['/v1/topics/f.resume/events?after=a/%25', 400, 'invalid_argument'],
  ['/v1/topics/f..x/events', 400, 'invalid_topic'],
])('%s is an error, not an empty stream', async (path, status, code) => {
  expect(await call('GET', path)).toMatchObject({ status, body: { code } })
})

test('a quiet stream says that it is still there', async () => {
  const { app } = await served({ heartbeatMs: 20 })
  const reader = (await app.request('/v1/topics/f.quiet/events')).body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (text.split(': still here\n\n').length <= 3) text += (await reader.read()).value
  await reader.cancel()
})

test('asking for the headers alone opens no stream', async () => {
  const head = await app.request('/v1/topics/f.resume/events', { method: 'HEAD' })
  expect([head.status, head.headers.get('content-type'), head.body]).toEqual([200, 'text/event-stream', null])
})

test('for a reader that does not read only what sockets hold is read from the store, and it holds nobody back', async () => {
  const server = await startServer(bus, { host: '127.0.0.1', port: 0 })
  // 80 MB in pages of 4 MB: many times what the sockets of both sides hold.
  const body = { text: 'x'.repeat(20_000) }
  for (let i = 0; i < 40; i++)
    await bus.publishMany(
      'f.slow',
      Array.from({ length: 100 }, () => body),
    )
  const pages = vi.spyOn(bus.admin, 'browse')
  const stuck = await fetch(`${server.url}/v1/topics/f.slow/events?from=start`)
  let before = -1
  for (let now = 0; now !== before; now = pages.mock.calls.length) {
    before = now
    await sleep(500)
  }
  expect(before).toBeGreaterThan(0)
  expect(before).toBeLessThan(8)
  pages.mockRestore()
  const quick = readEvents(await fetch(`${server.url}/v1/topics/f.slow/events`), upTo(1))
  await bus.publish('f.slow', { n: 1 })
  expect(numbers(await quick)).toEqual([1])
  await stuck.body!.cancel()
  await server.close()
})
