import fc from 'fast-check'
import { expect, test } from 'vitest'
import { connect, topic } from '../../src/index.ts'
import { toMs } from '../../src/message/duration.ts'
import { unwrap, wrap } from '../../src/message/envelope.ts'
import { newId } from '../../src/message/id.ts'
import { checkName, checkPattern, privateTopic } from '../../src/topic/name.ts'
import { covers, matcher, overlaps } from '../../src/topic/pattern.ts'

const token = fc.stringMatching(/^[a-c]{1,2}$/)
const name = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join('.'))
const pattern = fc
  .tuple(fc.array(fc.oneof(token, fc.constant('*')), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([tokens, open]) => [...tokens, ...(open ? ['>'] : [])].join('.'))

test('a name that matches two patterns makes them overlap; one that covers another matches all it does', () => {
  fc.assert(
    fc.property(name, pattern, pattern, (text, a, b) => {
      const [inA, inB] = [matcher(a)(text), matcher(b)(text)]
      if (inA && inB) expect(overlaps(a, b)).toBe(true)
      if (covers(a, b) && inB) expect(inA).toBe(true)
    }),
    { numRuns: 5000 },
  )
})

test.each(['', 'a b', 'a..b', '.a', 'a.', 'a.*', '>', 'x'.repeat(300), 'a/b', 'a\n', '_cozebus.x', 'ü'])('%j is no topic name', (text) => {
  expect(() => checkName(text)).toThrow(expect.objectContaining({ code: 'invalid_topic' }))
})

test.each(['_cozebus.>', '_cozebus.*.x', '_cozebus.replay.g.t'])(
  'the private %j is nobody’s to subscribe to, look into or delete',
  async (text) => {
    expect(() => checkPattern(text)).toThrow(expect.objectContaining({ code: 'invalid_topic' }))
    await using bus = await connect('memory:')
    const refused = { code: 'invalid_topic' }
    await expect(bus.subscribe(text, { group: 'g' }, () => {})).rejects.toMatchObject(refused)
    await expect(bus.subscribe(text, () => {})).rejects.toMatchObject(refused)
    await expect(bus.respond(text, { group: 'g' }, () => {})).rejects.toMatchObject(refused)
    await expect(bus.admin.deleteTopic(text)).rejects.toMatchObject(refused)
  },
)

test('definitions fill, filter and parse', () => {
  const docs = topic('docs.{space}.{event}')
  expect(docs.storage).toBe('docs.*.*')
  expect(docs.with({ space: '7', event: 'added' }).name).toBe('docs.7.added')
  expect(docs.where({ event: 'added' }).filter).toBe('docs.*.added')
  expect(docs.parse('docs.7.added')).toEqual({ space: '7', event: 'added' })
  expect(docs.parse('other.7.added')).toBeUndefined()
  for (const value of ['a.b', '*', '', 'x y'])
    expect(() => docs.with({ space: value, event: 'e' })).toThrow(expect.objectContaining({ code: 'invalid_topic' }))
  expect(() => topic('a.{x}.{x}')).toThrow(/stands twice/)
})

test('private topics of different groups never collide', () => {
  fc.assert(
    fc.property(name, name, fc.stringMatching(/^[a-z.:]{1,6}$/), fc.stringMatching(/^[a-z.:]{1,6}$/), (a, b, g, h) => {
      if (a !== b || g !== h) expect(privateTopic(a, g)).not.toBe(privateTopic(b, h))
    }),
  )
})

test('ids are UUIDv7 and grow', () => {
  let last = ''
  for (let i = 0; i < 20_000; i++) {
    const id = newId()
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(id > last).toBe(true)
    last = id
  }
})

test('an id tells when it was made', () => {
  const before = Date.now()
  const id = newId()
  const at = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
  expect(at).toBeGreaterThanOrEqual(before)
  // Many at once borrow of the time to come, a millisecond for two thousand at least.
  expect(at).toBeLessThanOrEqual(Date.now() + 20)
})

test('an envelope comes back as it was, and foreign bytes are no envelope', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.option(fc.string(), { nil: undefined }), (body, key) => {
      const opened = unwrap(wrap({ name: 'a.b', id: 'i', key, headers: { h: 'ü' }, at: 1 }, body))
      expect(opened?.envelope.key).toBe(key)
      expect(Buffer.from(opened!.body)).toEqual(Buffer.from(body))
      expect(unwrap(body)).toBeUndefined()
    }),
  )
})

test('durations', () => {
  expect([toMs('250ms'), toMs('30s'), toMs('1.5m'), toMs('2h'), toMs('7d'), toMs(5)]).toEqual([
    250, 30_000, 90_000, 7_200_000, 604_800_000, 5,
  ])
  for (const bad of ['5', 's', '-1s', Number.NaN, -1])
    expect(() => toMs(bad as number)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
})

test('a plain name inside a stored definition is that definition: published, subscribed, browsed', async () => {
  await using bus = await connect('memory:')
  const docs = topic('docs.{space}.{event}')
  const seen: string[] = []
  await bus.subscribe(docs, { group: 'all' }, (message) => void seen.push(`${message.params.space} ${message.params.event}`))
  const one: unknown[] = []
  await bus.subscribe('docs.8.added', { group: 'one' }, (message) => void one.push(message.body))
  await bus.publish('docs.8.added', 1)
  await bus.publish(docs.with({ space: '9', event: 'removed' }), 2)
  await bus.publish(docs.with({ space: '8', event: 'added' }), 3)
  await expect.poll(() => seen).toEqual(['8 added', '9 removed', '8 added'])
  await expect.poll(() => one).toEqual([1, 3])
  expect((await bus.admin.browse('docs.8.added')).messages.map(({ body }) => body)).toEqual([1, 3])
  expect((await bus.admin.topics()).map(({ storage }) => storage)).toEqual(['docs.*.*'])
})

test('what is asked for by one name of a stored definition never takes its other names along', async () => {
  await using bus = await connect('memory:')
  const docs = topic('docs.{space}.{event}')
  for (const filter of [docs, 'docs.8.added'] as const)
    await (await bus.subscribe(filter, { group: filter === docs ? 'all' : 'one' }, () => {})).close()
  await bus.publish(docs.with({ space: '8', event: 'added' }), 1)
  await bus.publish(docs.with({ space: '9', event: 'removed' }), 2)
  await expect(bus.admin.purge('docs.8.added')).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('docs.*.*') })
  await expect(bus.admin.reset('docs.8.added', 'all', { to: 'new' })).rejects.toMatchObject({ code: 'not_found' })
  await expect(bus.admin.deleteGroup('docs.8.added', 'all')).rejects.toMatchObject({ code: 'not_found' })
  await expect(bus.admin.deleteTopic('docs.8.added')).rejects.toMatchObject({ code: 'unsupported' })
  await bus.admin.deleteGroup('docs.8.added', 'one')
  expect((await bus.admin.groups(docs)).map(({ group, lag }) => [group, lag])).toEqual([['all', 2]])
  expect(await bus.admin.purge(docs)).toBe(2)
})

test('a body that says it is no JSON is bytes, and no dead letter', async () => {
  await using bus = await connect('memory:')
  const got: unknown[] = []
  await bus.subscribe('notes', { group: 'g' }, (message) => void got.push(message.body))
  await bus.publish('notes', Buffer.from('plain words'), { headers: { 'content-type': 'text/plain; charset=utf-8' } })
  await bus.publish('notes', Buffer.from('{"a":1}'), { headers: { 'content-type': 'application/cloudevents+json' } })
  await expect.poll(() => got.length).toBe(2)
  expect([Buffer.from(got[0] as Uint8Array).toString(), got[1]]).toEqual(['plain words', { a: 1 }])
})
