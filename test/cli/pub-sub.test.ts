import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connect, topic } from '../../src/index.ts'
import { lines, shell } from './support.ts'

const { dir, url, run, start, json } = shell()
const taken = (name: string, n: number, ...more: string[]) => run(['sub', name, '--group', 'g', '-n', String(n), '--json', ...more])

test('pub reads JSON lines, sub gives them back, and has acknowledged them', async () => {
  const sent = await run(['pub', 'c.lines', '--key', 'k', '--json'], '{"n":1}\n\n{"n":2}\n')
  expect(sent.code).toBe(0)
  expect(lines(sent.out)).toMatchObject([{ topic: 'c.lines', duplicate: false }, { topic: 'c.lines' }])
  const got = await taken('c.lines', 2)
  expect(lines(got.out)).toMatchObject([{ topic: 'c.lines', key: 'k', body: { n: 1 } }, { body: { n: 2 } }])
  expect(await json(['groups', 'ls', 'c.lines'])).toMatchObject([{ group: 'g', lag: 0, members: 0 }])
})

test('pub takes a body, key, id, headers, delay, time and bytes', async () => {
  const args = ['pub', 'c.one', '{"n":1}', '--key', 'k', '--id', 'i1', '--header', 'a=1', '--header', 'b=x=y']
  expect(await run(args)).toMatchObject({ code: 0, out: '', err: '1 published to c.one\n' })
  expect(await json(args)).toMatchObject({ id: 'i1', duplicate: true })
  await run(['pub', 'c.one', '--raw', '--header', 'kind=bytes'], new Uint8Array([0, 255]))
  await run(['pub', 'c.one', '1', '--delay', '1h'])
  await run(['pub', 'c.one', '1', '--deliver-at', new Date(Date.now() + 30 * 24 * 3600_000).toISOString()])
  expect(lines((await run(['topics', 'browse', 'c.one', '--json'])).out)).toMatchObject([
    { id: 'i1', key: 'k', headers: { a: '1', b: 'x=y' }, body: { n: 1 } },
    { headers: { kind: 'bytes' }, body: { base64: 'AP8=' } },
  ])
  expect((await json(['topics'])).find((row: any) => row.topic === 'c.one')).toMatchObject({ messages: 2, scheduled: 2 })
})

test('a line that is no JSON ends pub, and says how many before it are stored', async () => {
  const broken = await run(['pub', 'c.broken'], '{"n":1}\n{"n":2}\n{no\n{"n":4}\n')
  expect(broken.code).toBe(2)
  expect(broken.err).toMatch(/line 3 .*2 before it were published/)
  expect(await json(['topics', 'info', 'c.broken'])).toMatchObject({ messages: 2 })
})

test('64-bit numbers and every character arrive as they were; bytes that are no UTF-8 are refused', async () => {
  const exact = '{"id":9223372036854775807,"text":"żółć 😀"}'
  await run(['pub', 'c.exact'], `${exact}\n`)
  await run(['pub', 'c.exact', exact])
  const { out } = await run(['topics', 'browse', 'c.exact', '--json'])
  expect(out.split(`"body":${exact}`).length).toBe(3)
  expect((await taken('c.exact', 2)).out.split(`"body":${exact}`).length).toBe(3)
  const bad = await run(['pub', 'c.exact'], new Uint8Array([0x31, 0x0a, 0x22, 0xff, 0x22]))
  expect([bad.code, bad.err]).toEqual([2, expect.stringMatching(/no UTF-8.*\(\d before it were published\)/)])
})

test('a name inside a definition that a program declared reaches its group', async () => {
  await using bus = await connect(url)
  await bus.publish(topic('c.docs.{space}.{event}').with({ space: '1', event: 'added' }), 0)
  await run(['pub', 'c.docs.7.added', '{"n":1}'])
  expect((await bus.admin.topics()).filter(({ storage }) => storage.startsWith('c.docs'))).toMatchObject([
    { storage: 'c.docs.*.*', messages: 2 },
  ])
  expect(lines((await taken('c.docs.7.added', 1)).out)).toMatchObject([{ topic: 'c.docs.7.added', body: { n: 1 } }])
})

test('sub without a group is live: what is published from now on, until Ctrl-C', async () => {
  await using bus = await connect(url)
  await bus.publish('c.live', { n: 0 })
  const following = start(['sub', 'c.*', '--json'])
  await expect
    .poll(
      async () => {
        await bus.publish('c.live', { n: 1 })
        return following.out()
      },
      { interval: 200, timeout: 20_000 },
    )
    .toContain('"n":1')
  following.child.kill('SIGINT')
  const { code, out } = await following.ended
  expect([code, lines(out).some(({ body }) => body.n === 0)]).toEqual([0, false])
  expect(lines(out)[0]).toMatchObject({ topic: 'c.live', body: { n: 1 } })
})

test('a new group begins where --from says', async () => {
  await run(['pub', 'c.from'], '1\n2\n')
  const since = new Date(Date.now() + 1).toISOString()
  await new Promise((resolve) => setTimeout(resolve, 20))
  await run(['pub', 'c.from', '3'])
  expect(lines((await run(['sub', 'c.from', '--group', 'a', '-n', '1', '--json', '--from', since])).out)).toMatchObject([{ body: 3 }])
  expect(lines((await run(['sub', 'c.from', '--group', 'b', '--limit', '3', '--json'])).out)).toMatchObject([
    { body: 1 },
    { body: 2 },
    { body: 3 },
  ])
})

test('sub --exec runs a command a message: the body on its input, the rest in its environment', async () => {
  await run(['pub', 'c.exec', '{"hello":"world"}', '--key', 'k', '--header', 'a=1'])
  const got = await run([
    'sub',
    'c.exec',
    '--exec',
    'cat; echo " $COZEBUS_TOPIC $COZEBUS_KEY $COZEBUS_ATTEMPT $COZEBUS_HEADERS"',
    '-n',
    '1',
  ])
  expect(got).toMatchObject({ code: 0, out: '{"hello":"world"} c.exec k 1 {"a":"1"}\n' })
})

test('a command does not get the token of the gateway', async () => {
  await run(['pub', 'c.token', '1'])
  const got = await run(['sub', 'c.token', '--exec', 'echo "$COZEBUS_TOKEN,$COZEBUS_TOKEN_FILE,$MINE"', '-n', '1'], '', {
    COZEBUS_TOKEN: 'secret',
    COZEBUS_TOKEN_FILE: '/secret',
    MINE: 'kept',
  })
  expect(got).toMatchObject({ code: 0, out: ',,kept\n' })
})

test('a command that fails is retried; what it did counts only once it succeeds', async () => {
  await run(['pub', 'c.fails', '1'])
  const got = await run(['sub', 'c.fails', '--group', 'g', '-n', '1', '--exec', 'echo "run $COZEBUS_ATTEMPT"; test "$COZEBUS_ATTEMPT" = 2'])
  expect(got).toMatchObject({ code: 0, out: 'run 1\nrun 2\n' })
  expect(got.err).toContain('exit code 1')
  expect(await json(['groups', 'lag', 'c.fails', 'g'])).toMatchObject({ lag: 0 })
})

test('Ctrl-C lets a running command finish, and hands back what is left', async () => {
  await run(['pub', 'c.drain'], '1\n2\n3\n')
  const working = start(['sub', 'c.drain', '--group', 'g', '--concurrency', '1', '--exec', 'echo begun; sleep 1; echo done'])
  await expect.poll(working.out, { timeout: 20_000 }).toContain('begun')
  working.child.kill('SIGINT')
  const { code, out } = await working.ended
  expect([code, out.match(/begun/g)!.length, out.match(/done/g)!.length]).toEqual([0, 1, 1])
  expect(await json(['groups', 'ls', 'c.drain'])).toMatchObject([{ lag: 2, inHand: 0, members: 0 }])
})

test('a second Ctrl-C quits at once, and takes the command along', async () => {
  await run(['pub', 'c.quit', '1'])
  const marker = join(dir, 'survived')
  const working = start(['sub', 'c.quit', '--group', 'g', '--exec', `echo begun; sleep 3; touch ${marker}`])
  await expect.poll(working.out, { timeout: 20_000 }).toContain('begun')
  working.child.kill('SIGINT')
  await expect.poll(working.err).toContain('draining')
  await new Promise((resolve) => setTimeout(resolve, 400))
  working.child.kill('SIGINT')
  expect((await working.ended).code).toBe(130)
  await new Promise((resolve) => setTimeout(resolve, 3500))
  expect(existsSync(marker)).toBe(false)
})

test('a reader that stops reading ends us without a word', async () => {
  await run(['pub', 'c.pipe'], Array.from({ length: 5000 }, (_, n) => `{"n":${n},"text":"${'x'.repeat(100)}"}`).join('\n'))
  const main = join(import.meta.dirname, '../../src/cli/main.ts')
  const piped = spawn('sh', ['-c', `"${process.execPath}" "${main}" topics browse c.pipe --limit 5000 --url "${url}" | head -n 1`], {
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  })
  let [out, err] = ['', '']
  piped.stdout.on('data', (chunk) => (out += chunk))
  piped.stderr.on('data', (chunk) => (err += chunk))
  await new Promise((resolve) => piped.on('close', resolve))
  expect([out.split('\n').length, err]).toEqual([2, ''])
})

test.each([
  [['pub', 'bad topic', '1'], 2, 'bad topic'],
  [['pub', 'a', '{no'], 2, 'no JSON'],
  [['pub', 'a', '1', '--header', 'novalue'], 2, 'name=value'],
  [['pub', 'a', '1', '--delay', 'soon'], 2, 'duration'],
  [['pub', 'a', '1', '--deliver-at', 'soon'], 2, 'no time'],
  [['pub', 'a', '1', '--deliver-at', '12'], 2, 'no time'],
  [['pub', 'a', '1', '--delay', '1s', '--deliver-at', '2199-01-31'], 2, 'cannot be used with'],
  [['pub', 'a', '1', '--raw'], 2, '--raw'],
  [['pub', 'a', '--id', 'x'], 2, '--id'],
  [['pub'], 2, 'topic'],
  [['sub', 'a..b'], 2, 'empty token'],
  [['sub', 'a', '-n', '0'], 2, '--limit'],
  [['sub', 'a', '--from', 'new'], 2, '--from'],
  [['sub', 'a', '--group', 'g', '--from', 'then'], 2, '--from'],
  [['sub', 'a', '--group', 'bad group', '-n', '1'], 2, 'group'],
  [['pub', 'a', '1', '--url', 'ftp://user:secret@x'], 2, 'file:'],
  [['nonsense'], 2, 'unknown command'],
  [['pub', 'a', '1', '--nonsense'], 2, 'unknown option'],
] as const)('%j ends with %i, says why, and shows no stack', async (args, code, why) => {
  const ran = await run(args)
  expect([ran.code, ran.err.includes(why), ran.out]).toEqual([code, true, ''])
  expect(ran.err).not.toMatch(/^ {4}at |secret/m)
})
