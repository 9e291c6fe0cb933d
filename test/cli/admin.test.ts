import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test, vi } from 'vitest'
import { connect } from '../../src/index.ts'
import { lines, shell } from './support.ts'

const { dir, url, run, json } = shell()

/** Three dead letters of group `w`, two messages of a group at rest, and nobody at work. */
beforeAll(async () => {
  await using bus = await connect(url, { defaults: { retry: { attempts: 1 }, breaker: false } })
  const work = await bus.subscribe('t.dlq', { group: 'w' }, ({ body }) => {
    throw new Error(body.n === 0 ? 'timeout' : 'bad file')
  })
  await (await bus.subscribe('t.rest', { group: 'idle' }, () => {})).close()
  await bus.publishMany('t.rest', [1, 2])
  for (let n = 0; n < 3; n++) await bus.publish('t.dlq', { n }, { key: `k${n}` })
  await vi.waitFor(async () => expect(await bus.admin.deadLetters('t.dlq', 'w').count()).toBe(3), 10_000)
  await work.close()
})

test('topics: listed, looked into, browsed', async () => {
  expect(await json(['topics'])).toMatchObject([
    { topic: 't.dlq', messages: 3 },
    { topic: 't.rest', messages: 2 },
  ])
  expect(await json(['topics', 'ls'])).toEqual(await json(['topics']))
  expect(await json(['topics', 'info', 't.dlq'])).toMatchObject({ topic: 't.dlq', messages: 3, groups: [{ group: 'w', deadLetters: 3 }] })
  const browsed = lines((await run(['topics', 'browse', 't.dlq', '--limit', '2', '--json'])).out)
  expect(browsed.map(({ body }) => body.n)).toEqual([0, 1])
  const rest = await run(['topics', 'browse', 't.dlq', '--from', browsed[1].position, '--json'])
  expect(lines(rest.out).map(({ body }) => body.n)).toEqual([2])
  expect(lines((await run(['topics', 'browse', 't.dlq', '--from', '2020-01-01T00:00:00Z', '--json'])).out)).toHaveLength(3)
})

test('in a pipe there are tabs and no colour; --json is JSON', async () => {
  const { out } = await run(['groups', 't.rest'])
  expect(out).toBe('group\tlag\tinHand\twaiting\tmembers\tdeadLetters\tpaused\nidle\t2\t0\t0\t0\t0\tfalse\n')
})

test('groups: lag, pause, resume, reset', async () => {
  expect((await run(['groups', 'lag', 't.rest', 'idle'])).out).toBe('2\n')
  expect(await json(['groups', 'lag', 't.rest', 'idle'])).toMatchObject({ lag: 2, oldestMs: expect.any(Number) })
  const paused = async (): Promise<boolean> => (await json(['groups', 'ls', 't.rest']))[0].paused
  expect(await json(['groups', 'pause', 't.rest', 'idle'])).toEqual({ topic: 't.rest', group: 'idle', done: 'pause' })
  expect(await paused()).toBe(true)
  expect((await run(['groups', 'resume', 't.rest', 'idle'])).err).toBe('group idle of t.rest is resumed\n')
  expect(await paused()).toBe(false)
  const lagAfter = async (to: string): Promise<string> => {
    await json(['groups', 'reset', 't.rest', 'idle', '--to', to])
    return (await run(['groups', 'lag', 't.rest', 'idle'])).out
  }
  expect([await lagAfter('new'), await lagAfter('2020-01-01T00:00:00Z'), await lagAfter('earliest')]).toEqual(['0\n', '2\n', '2\n'])
})

test('dlq: listed, shown, exported; --dry-run changes nothing; replay and discard take what was chosen', async () => {
  const letters = await json(['dlq', 'ls', 't.dlq', 'w'])
  expect(letters).toHaveLength(3)
  const [first] = letters
  expect(await json(['dlq', 'ls', 't.dlq', 'w', '--after', first.id, '--limit', '1'])).toEqual([letters[1]])
  expect(await json(['dlq', 'show', 't.dlq', 'w', first.id])).toMatchObject({ id: first.id, topic: 't.dlq', group: 'w', attempts: 1 })
  expect(lines((await run(['dlq', 'export', 't.dlq', 'w'])).out).map(({ id }) => id)).toEqual(letters.map(({ id }: any) => id))
  const dry = await run(['dlq', 'discard', 't.dlq', 'w', '--error', 'timeout', '--dry-run'])
  expect([dry.code, dry.err]).toEqual([0, '1 would be discarded\n'])
  expect(await json(['dlq', 'replay', 't.dlq', 'w', '--all', '--dry-run'])).toHaveLength(3)
  expect(await json(['dlq', 'ls', 't.dlq', 'w'])).toEqual(letters)
  expect(await json(['dlq', 'discard', 't.dlq', 'w', '--error', 'timeout'])).toEqual({ discarded: 1 })
  const left = await json(['dlq', 'ls', 't.dlq', 'w'])
  expect(left.map(({ key }: any) => key).sort()).toEqual(['k1', 'k2'])
  expect(await json(['dlq', 'replay', 't.dlq', 'w', left[0].id, left[0].id])).toEqual({ replayed: 1 })
  expect((await run(['dlq', 'replay', 't.dlq', 'w', '--key', left[1].key])).err).toBe('1 replayed\n')
  const got = await run(['sub', 't.dlq', '--group', 'w', '-n', '2', '--json'])
  expect(
    lines(got.out)
      .map(({ key }) => key)
      .sort(),
  ).toEqual(['k1', 'k2'])
  expect(await json(['dlq', 'ls', 't.dlq', 'w'])).toEqual([])
})

test('purge and rm say first what would go', async () => {
  await run(['pub', 't.old'], '1\n2\n3\n')
  await run(['sub', 't.old', '--group', 'g', '-n', '1'])
  expect(await json(['topics', 'purge', 't.old', '--dry-run'])).toEqual({ dryRun: true, topic: 't.old', messages: 3 })
  expect((await run(['groups', 'rm', 't.old', 'g', '--dry-run'])).err).toContain('2 messages not settled')
  expect(await json(['topics', 'rm', 't.old', '--dry-run'])).toMatchObject({ messages: 3, groups: ['g'] })
  const second = lines((await run(['topics', 'browse', 't.old', '--json'])).out)[1]
  expect(await json(['topics', 'purge', 't.old', '--before', second.position])).toEqual({ purged: 1 })
  expect(await json(['groups', 'rm', 't.old', 'g'])).toMatchObject({ done: 'rm' })
  expect(await json(['topics', 'purge', 't.old'])).toEqual({ purged: 2 })
  expect(await json(['topics', 'rm', 't.old'])).toEqual({ deleted: 't.old' })
  expect((await run(['topics', 'info', 't.old'])).code).toBe(6)
})

test.each([
  [['topics', 'info', 'no.such'], 6],
  [['topics', 'rm', 'no.such'], 6],
  [['topics', 'rm', 'no.such', '--dry-run'], 6],
  [['topics', 'purge', 'no.such', '--dry-run'], 6],
  [['topics', 'browse', 't.rest', '--from', 'nowhere'], 2],
  [['topics', 'browse', 't.rest', '--limit', 'x'], 2],
  [['topics', 'purge', 't.rest', '--before', '1', '--dry-run'], 2],
  [['groups'], 2],
  [['groups', 'ls', 'no.such'], 6],
  [['groups', 'pause', 't.rest', 'no-such'], 6],
  [['groups', 'lag', 't.rest', 'no-such'], 6],
  [['groups', 'reset', 't.rest', 'idle', '--to', '2020-99-99'], 2],
  [['dlq', 'ls', 't.rest', 'no-such'], 6],
  [['dlq', 'show', 't.rest', 'idle', 'none'], 6],
  [['dlq', 'replay', 't.rest', 'idle'], 2],
  [['dlq', 'discard', 't.rest', 'idle', 'x', '--all'], 2],
  [['dlq', 'discard', 't.rest', 'idle', '--since', 'soon'], 2],
] as const)('%j ends with %i', async (args, code) => {
  const ran = await run(args)
  expect([ran.code, ran.err.length > 0]).toEqual([code, true])
  expect(ran.err).not.toMatch(/^ {4}at /m)
})

test('a mistyped folder is an error, and no store is made there', async () => {
  for (const args of [['topics'], ['groups', 'a'], ['dlq', 'ls', 'a', 'g']])
    expect((await run([...args, '--url', `file:${dir}/typo`])).code).toBe(6)
  expect((await run(['pub', 'bad topic', '1', '--url', `file:${dir}/typo`])).code).toBe(2)
  expect(existsSync(join(dir, 'typo'))).toBe(false)
})

test('doctor tells what it tried, and fails when something is wrong', async () => {
  const well = await run(['doctor'])
  expect([well.code, well.out.match(/^ok/gm)!.length]).toEqual([0, 6])
  expect(await json(['doctor'])).toMatchObject([
    { check: 'node', ok: true },
    { check: 'store', ok: true },
    { check: 'connect' },
    { check: 'health' },
    { check: 'round trip' },
    { check: 'event loop' },
  ])
  const ill = await run(['doctor', '--url', 'file:/dev/null/store'])
  expect([ill.code, ill.out.includes('FAIL')]).toEqual([1, true])
  expect((await json(['topics'])).some(({ topic }: any) => topic.startsWith('doctor.'))).toBe(false)
})

test('bench measures, and leaves nothing behind', async () => {
  expect(await json(['bench', '--messages', '300', '--size', '10'])).toMatchObject([
    { what: 'publish', messages: 300, perSecond: expect.any(Number), p50Ms: expect.any(Number) },
    { what: 'publish, handle, acknowledge', messages: 300, p99Ms: expect.any(Number) },
  ])
  expect((await json(['topics'])).some(({ topic }: any) => topic.startsWith('bench.'))).toBe(false)
  expect((await run(['bench', '--messages', '0'])).code).toBe(2)
})
