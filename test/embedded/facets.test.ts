import { expect, test } from 'vitest'
import type { KvEntry, Stored } from '../../src/engines/engine.ts'
import { engine, joinGroup, message, sleep, source, temporary, text } from './support.ts'

const bytes = (value: string): Uint8Array => Buffer.from(value)

async function pair() {
  const dir = temporary()
  return [await engine({ dir }), await engine({ dir })] as const
}

async function until(condition: () => boolean, ms = 4000): Promise<void> {
  for (const end = Date.now() + ms; !condition() && Date.now() < end; ) await sleep(5)
}

test('ledger: records are read, listed in key order and page by page, counted, deleted, and watched by others', async () => {
  const [one, two] = await pair()
  const heard: string[] = []
  const stop = two.ledger!.watch('attempts', 'a/', (key) => heard.push(key))
  await sleep(20)
  await one.ledger!.write(['a/3', 'a/1', 'b/1', 'a/2'].map((key) => ({ space: 'attempts', key, value: bytes(key) })))
  expect((await two.ledger!.read('attempts', ['a/1', 'a/9'])).map((value) => value && Buffer.from(value).toString())).toEqual([
    'a/1',
    undefined,
  ])
  const page = await two.ledger!.list('attempts', 'a/', { limit: 2 })
  expect(page.map(({ key }) => key)).toEqual(['a/1', 'a/2'])
  expect((await two.ledger!.list('attempts', 'a/', { limit: 2, after: 'a/2' })).map(({ key }) => key)).toEqual(['a/3'])
  expect([await one.ledger!.count('attempts', 'a/'), await one.ledger!.count('pauses', '')]).toEqual([3, 0])
  await until(() => heard.length === 3)
  await one.ledger!.write([
    { space: 'attempts', key: 'a/1', value: undefined },
    { space: 'pauses', key: 'a/1', value: bytes('x') },
  ])
  await until(() => heard.length === 4)
  expect(heard).toEqual(['a/3', 'a/1', 'a/2', 'a/1'])
  stop()
  expect(await one.ledger!.count('attempts', '')).toBe(3)
})

test('kv: revisions, conflicts, deletion, history, and a watch that sees each change of another process', async () => {
  const [one, two] = await pair()
  const bucket = await one.kv!.open('b', { history: 3 })
  const other = await two.kv!.open('b', {})
  const first = await bucket.put('user.1', bytes('1'), 0)
  await expect(other.put('user.1', bytes('x'), 0)).rejects.toMatchObject({ code: 'conflict' })
  const entries: KvEntry[] = []
  let ready = 0
  const watch = await other.watch(
    'user.*',
    (batch) => entries.push(...batch),
    () => ready++,
  )
  await until(() => ready === 1)
  expect(entries.map(({ key, operation }) => [key, operation])).toEqual([['user.1', 'put']])
  const second = await other.put('user.1', bytes('2'), first)
  await expect(bucket.put('user.1', bytes('x'), first)).rejects.toMatchObject({ code: 'conflict' })
  for (let i = 3; i <= 6; i++) await bucket.put('user.1', bytes(String(i)))
  await bucket.put('group.1', bytes('g'))
  await bucket.delete('user.1')
  expect(second).toBeGreaterThan(first)
  expect(await bucket.get('user.1')).toMatchObject({ operation: 'delete' })
  expect(await bucket.get('nobody')).toBe(undefined)
  expect([await bucket.keys('>'), await other.keys('user.*')]).toEqual([['group.1'], []])
  expect((await other.history('user.1')).map(({ operation, value }) => [operation, Buffer.from(value).toString()])).toEqual([
    ['put', '5'],
    ['put', '6'],
    ['delete', ''],
  ])
  await until(() => entries.length === 7)
  expect(entries.map(({ value }) => Buffer.from(value).toString())).toEqual(['1', '2', '3', '4', '5', '6', ''])
  expect(await bucket.put('user.1', bytes('again'), 0)).toBeGreaterThan(second)
  await watch.close()
  await bucket.put('user.2', bytes('late'))
  await sleep(50)
  expect(entries.filter(({ key }) => key === 'user.2')).toEqual([])
  const brief = await one.kv!.open('brief', { ttlMs: 80 })
  await brief.put('k', bytes('v'))
  expect((await brief.get('k'))?.operation).toBe('put')
  await sleep(120)
  expect([await brief.get('k'), await brief.keys('>'), await brief.history('k')]).toEqual([undefined, [], []])
  await expect(one.kv!.open('bad', { history: 65 })).rejects.toMatchObject({ code: 'invalid_argument' })
})

test('live: every process that listens hears from now on, private topics apart', async () => {
  const [one, two] = await pair()
  await one.publish([message('docs.*', 'before', { name: 'docs.1' })])
  const heard: Stored[][] = [[], []]
  const listeners = [
    await one.live!.subscribe('docs.*', (batch) => heard[0]!.push(...batch)),
    await two.live!.subscribe('>', (batch) => heard[1]!.push(...batch)),
  ]
  await one.publish([
    message('docs.*', 'd1', { name: 'docs.1', key: 'k' }),
    message('other', 'o'),
    message('_cozebus.replay.x.y', 'private'),
  ])
  await until(() => heard[0]!.length === 1 && heard[1]!.length === 2)
  expect(heard.map((list) => list.map(text))).toEqual([['d1'], ['d1', 'o']])
  expect(heard[0]![0]).toMatchObject({ storage: 'docs.*', name: 'docs.1', key: 'k' })
  for (const listener of listeners) await listener.close()
  await one.publish([message('other', 'late')])
  await sleep(60)
  expect(heard[1]!.length).toBe(2)
})

test('requests: no responder, a slow one, an abort, one answer a group', async () => {
  const [one, two] = await pair()
  const question = (name: string) => ({ name, id: 'i', headers: { h: '1' }, body: bytes('?'), at: 5 })
  await expect(one.requests!.request(question('x'), 1000)).rejects.toMatchObject({ code: 'no_responders' })
  const asked: unknown[] = []
  const answer = (who: string, ms: number) => async (message: unknown) => {
    asked.push(message)
    await sleep(ms)
    return { headers: { by: who }, body: bytes(who) }
  }
  const responders = [
    await one.requests!.respond('fast', 'g', answer('one', 0)),
    await two.requests!.respond('fast', 'g', answer('two', 0)),
    await two.requests!.respond('slow.>', 'g', answer('slow', 300)),
  ]
  for (let i = 0; i < 20; i++) expect(['one', 'two']).toContain((await one.requests!.request(question('fast'), 2000)).headers!['by'])
  expect(asked.length).toBe(20)
  expect(asked[0]).toMatchObject({ name: 'fast', headers: { h: '1' }, at: 5 })
  await expect(one.requests!.request(question('slow.1'), 100)).rejects.toMatchObject({
    code: 'timeout',
    message: expect.stringContaining('100 ms'),
  })
  const aborter = new AbortController()
  setTimeout(() => aborter.abort(), 50)
  await expect(one.requests!.request(question('slow.1'), 5000, aborter.signal)).rejects.toMatchObject({ code: 'aborted' })
  for (const responder of responders) await responder.close()
  await expect(one.requests!.request(question('fast'), 1000)).rejects.toMatchObject({ code: 'no_responders' })
})

test('admin: topics appear to watchers, groups move and go while they have no members, and are made again', async () => {
  const [one, two] = await pair()
  const seen: string[] = []
  await one.publish([message('a', '1')])
  const stop = one.admin.watchTopics((storage) => seen.push(storage))
  await until(() => seen.length === 1)
  await two.publish([message('b', '1')])
  await until(() => seen.length === 2)
  expect(seen).toEqual(['a', 'b'])
  stop()
  await one.publish(['2', '3'].map((body) => message('a', body)))
  const hand = await joinGroup(two, 'g', [source('a')])
  await hand.until(3)
  await hand.settle('ack', hand.all)
  await expect(one.admin.reset('a', 'g', 'start')).rejects.toMatchObject({ code: 'conflict' })
  await expect(one.admin.reset('a', 'other', 'start')).rejects.toMatchObject({ code: 'not_found' })
  await expect(one.admin.reset('none', 'g', 'start')).rejects.toMatchObject({ code: 'not_found' })
  await hand.subscription.close()
  await one.admin.reset('a', 'g', hand.all[0]!.position)
  const again = await joinGroup(two, 'g', [source('a')])
  await again.until(2)
  expect(again.texts).toEqual(['2', '3'])
  await expect(one.admin.deleteGroup('a', 'g')).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining("'g'") })
  await expect(one.admin.deleteTopic('a')).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining("'g'") })
  expect((await one.read('a', 'start', 10)).messages.length).toBe(3)
  await again.subscription.close()
  await one.admin.deleteGroup('a', 'g')
  await one.publish([message('a', '4')])
  const anew = await joinGroup(two, 'g', [source('a')])
  await anew.until(4)
  expect(anew.texts).toEqual(['1', '2', '3', '4'])
  await anew.subscription.close()
  await one.admin.deleteTopic('a')
  expect((await two.admin.topics()).map(({ storage }) => storage)).toEqual(['b'])
  await expect(two.read('a', 'start', 1)).rejects.toMatchObject({ code: 'not_found' })
})

test('reading without a group: from either end, a position or a time, page by page', async () => {
  const bus = await engine()
  await bus.publish(Array.from({ length: 5 }, (_, i) => message('a', String(i), { key: 'k', headers: { n: String(i) } })))
  await bus.publish([message('b', 'x')])
  const page = await bus.read('a', 'start', 2)
  expect(page.messages.map(text)).toEqual(['0', '1'])
  const next = await bus.read('a', page.next, 100)
  expect(next.messages.map(text)).toEqual(['2', '3', '4'])
  expect(next.messages[0]).toMatchObject({ storage: 'a', key: 'k', headers: { n: '2' } })
  expect((await bus.read('a', 'end', 5)).messages).toEqual([])
  expect((await bus.read('a', { timeMs: Date.now() + 1000 }, 5)).messages).toEqual([])
  expect((await bus.read('a', { timeMs: 0 }, 5)).messages.length).toBe(5)
  await expect(bus.read('a', 'nonsense', 5)).rejects.toMatchObject({ code: 'invalid_argument' })
})
