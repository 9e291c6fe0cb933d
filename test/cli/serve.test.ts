import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { messages, readEvents } from '../gateway/support.ts'
import { lines, shell } from './support.ts'

const { dir, run, json, serve, start } = shell()
const publish = (base: string, name: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${base}/v1/topics/${name}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

test('it says where it listens, and the two lines it prints work when pasted', async () => {
  const { base, out, child, ended } = await serve()
  const pasted = (what: string): string => new RegExp(`${what}: +(.*)`).exec(out())![1]!
  const { execFile } = await import('node:child_process')
  const shellRun = (command: string): Promise<string> =>
    new Promise((resolve) => execFile('sh', ['-c', command], (_error, stdout) => resolve(stdout)))
  expect(JSON.parse(await shellRun(pasted('publish')))).toMatchObject({ topic: 'hello.world', duplicate: false })
  expect(await shellRun(`${pasted('follow')} --max-time 2`)).toContain('"body":{"text":"hi"}')
  expect((await fetch(`${base}/healthz`)).status).toBe(200)
  child.kill('SIGINT')
  expect((await ended).code).toBe(0)
})

test('a follower that reconnects through restarts of the server misses nothing and sees nothing twice', async () => {
  const total = 300
  const seen: number[] = []
  let server = await serve()
  let stop = false
  let sent = 0
  // Each number until it is confirmed, under an id of its own: one sent again is stored once.
  const publishing = (async () => {
    while (sent < total && !stop) {
      try {
        const response = await publish(server.base, 's.flow', { n: sent }, { 'cozebus-id': `n${sent}` })
        if (response.ok) sent++
        else await sleep(20)
      } catch {
        await sleep(20)
      }
    }
  })()
  let last: string | undefined
  let restarts = 0
  const following = (async () => {
    while (seen.length < total && !stop) {
      const headers: Record<string, string> = last === undefined ? {} : { 'last-event-id': last }
      const response = await fetch(`${server.base}/v1/topics/s.flow/events?from=start`, { headers }).catch(() => undefined)
      if (!response?.ok) {
        await sleep(20)
        continue
      }
      // Some events, then away; the last one may come with the next connection only.
      const most = seen.length + 40
      const events = await readEvents(response, (all) => seen.length + messages(all).length >= Math.min(most, total))
      for (const { data } of messages(events)) seen.push(data.body.n)
      last = events.at(-1)?.id ?? last
    }
  })()
  try {
    for (const signal of ['SIGTERM', 'SIGKILL', 'SIGINT'] as const) {
      const before = seen.length
      await expect.poll(() => seen.length, { timeout: 30_000 }).toBeGreaterThan(before + 10)
      server.child.kill(signal)
      const { code } = await server.ended
      expect(code).toBe(signal === 'SIGKILL' ? null : 0)
      server = await serve()
      restarts++
    }
    await Promise.all([publishing, following])
  } finally {
    stop = true
  }
  expect(restarts).toBe(3)
  expect(seen).toEqual(Array.from({ length: total }, (_, n) => n))
  server.child.kill('SIGTERM')
  await server.ended
})

test('Ctrl-C under load: what was answered is stored, streams end, leases are handed back, exit code 0', async () => {
  const server = await serve()
  await publish(server.base, 's.held', { n: 1 })
  const pulled = await fetch(`${server.base}/v1/topics/s.held/groups/g/pull`, { method: 'POST', body: '{"waitMs":5000,"leaseMs":600000}' })
  expect(((await pulled.json()) as any).messages).toHaveLength(1)
  const stream = readEvents(await fetch(`${server.base}/v1/topics/s.load/events`), () => false)
  const poll = fetch(`${server.base}/v1/topics/s.empty/groups/g/pull`, { method: 'POST', body: '{"waitMs":60000}' })
  const stored: string[] = []
  const refused: number[] = []
  let going = true
  const load = Array.from({ length: 20 }, async (_, lane) => {
    for (let n = 0; going; n++) {
      const id = `${lane}-${n}`
      try {
        const response = await publish(server.base, 's.load', { id }, { 'cozebus-id': id })
        // Whoever got its answer has its message stored; whoever was cut off knows nothing.
        if (response.status === 201) stored.push(id)
        else refused.push(response.status)
      } catch {
        return
      }
    }
  })
  await expect.poll(() => stored.length, { timeout: 30_000 }).toBeGreaterThan(200)
  server.child.kill('SIGINT')
  expect(((await (await poll).json()) as any).messages).toEqual([])
  await stream
  const { code, err } = await server.ended
  going = false
  await Promise.all(load)
  expect([code, err.includes('draining')]).toEqual([0, true])
  expect(refused.filter((status) => status !== 503)).toEqual([])
  const there = new Set(lines((await run(['topics', 'browse', 's.load', '--limit', '1000000', '--json'])).out).map(({ id }) => id))
  expect(stored.filter((id) => !there.has(id))).toEqual([])
  expect(await json(['groups', 'ls', 's.held'])).toMatchObject([{ group: 'g', lag: 1, inHand: 0, members: 0 }])
})

test('one Ctrl-C that comes twice, from the terminal and from npm, is one; a second one later quits at once', async () => {
  const twice = await serve()
  twice.child.kill('SIGINT')
  await sleep(20)
  twice.child.kill('SIGINT')
  expect((await twice.ended).code).toBe(0)
  const stuck = await serve()
  // A request that does not end holds the drain.
  const { connect } = await import('node:net')
  const socket = connect(Number(new URL(stuck.base).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /v1/topics/a/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n1')
  await sleep(300)
  stuck.child.kill('SIGINT')
  await expect.poll(stuck.err).toContain('draining')
  await sleep(500)
  stuck.child.kill('SIGINT')
  expect((await stuck.ended).code).toBe(130)
  socket.destroy()
})

test('a port in use, a bad option, a missing token: one clear line, an exit code, and no store', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const refused = async (args: string[], more: Record<string, string> = {}) => {
    const { code, err, out } = await run(['serve', ...args], '', more)
    expect([out, err.trim().split('\n').length]).toEqual(['', 1])
    expect(err).not.toContain('    at ')
    return [code, err] as const
  }
  expect(await refused(['--port', String(port)])).toEqual([5, expect.stringContaining(`port ${port}`)])
  expect(await refused([], { PORT: String(port) })).toEqual([5, expect.stringContaining('--port or PORT')])
  await new Promise((resolve) => taken.close(resolve))
  const fresh = ['--port', '0', '--url', `file:${dir}/none`]
  expect(await refused([...fresh, '--host', '0.0.0.0'])).toEqual([2, expect.stringContaining('COZEBUS_TOKEN')])
  expect(await refused(fresh, { COZEBUS_HOST: '0.0.0.0' })).toEqual([2, expect.stringContaining('COZEBUS_TOKEN')])
  expect((await refused(['--port', 'x']))[0]).toBe(2)
  expect((await refused([...fresh, '--log-level', 'loud']))[0]).toBe(2)
  expect((await refused([...fresh, '--log-format', 'xml']))[0]).toBe(2)
  expect((await refused([...fresh, '--log-file', `${dir}/no/such/file`]))[0]).toBe(2)
  expect((await refused([...fresh, '--max-body', '0']))[0]).toBe(2)
  expect((await refused([...fresh, '--allow-origin', 'localhost']))[0]).toBe(2)
  expect((await refused(fresh, { COZEBUS_TOKEN_FILE: `${dir}/nothing` }))[0]).toBe(2)
  writeFileSync(join(dir, 'blank'), ' \n')
  expect((await refused(fresh, { COZEBUS_TOKEN_FILE: join(dir, 'blank') }))[0]).toBe(2)
  expect((await run(['topics', '--url', `file:${dir}/none`])).code).toBe(6)
})

test('beyond loopback with a token from a file; health stays open', async () => {
  writeFileSync(join(dir, 'token'), 'from-a-file\n')
  const { base, child, ended, out } = await serve(['--host', '0.0.0.0'], { COZEBUS_TOKEN_FILE: join(dir, 'token') })
  const local = base.replace('0.0.0.0', '127.0.0.1')
  expect((await fetch(`${local}/v1/topics`)).status).toBe(401)
  expect((await fetch(`${local}/v1/topics`, { headers: { authorization: 'Bearer from-a-file' } })).status).toBe(200)
  expect((await fetch(`${local}/readyz`)).status).toBe(200)
  expect(out()).not.toContain('from-a-file')
  expect(out()).toContain('$COZEBUS_TOKEN')
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
})

test('logs: JSON lines in a file, opened again at SIGHUP, with no body and no secret in them', async () => {
  mkdirSync(join(dir, 'logs'))
  const file = join(dir, 'logs/bus.log')
  const token = 'very-secret-token'
  const args = ['--log-level', 'debug', '--log-format', 'json', '--log-file', file]
  const { base, child, ended, err } = await serve(args, { COZEBUS_TOKEN: token })
  const headers = { authorization: `Bearer ${token}` }
  await publish(base, 's.log', { confidential: 'body-text' }, headers)
  await publish(base, 's.log', { confidential: 'body-text' }, { authorization: 'Bearer wrong-guess' })
  await fetch(`${base}/v1/topics/s.log/messages`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: '{"confidential": body-text',
  })
  // One that is no JSON, whoever follows it: the warning must not quote it.
  await fetch(`${base}/v1/topics/s.log/messages?x=query-secret`, { headers })
  await expect.poll(() => readFileSync(file, 'utf8')).toContain('"status":422')
  renameSync(file, `${file}.1`)
  child.kill('SIGHUP')
  await expect
    .poll(async () => {
      await fetch(`${base}/healthz`)
      try {
        return readFileSync(file, 'utf8')
      } catch {
        return ''
      }
    })
    .toContain('/healthz')
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
  const text = readFileSync(`${file}.1`, 'utf8') + readFileSync(file, 'utf8')
  const entries = lines(text)
  expect(entries).toContainEqual(
    expect.objectContaining({ level: 'debug', message: 'request', method: 'POST', path: '/v1/topics/s.log/messages', status: 201 }),
  )
  expect(entries.some(({ message }) => message === 'listening') && entries.at(-1).message === 'closed').toBe(true)
  for (const secret of [token, 'body-text', 'wrong-guess', 'query-secret']) expect(text + err()).not.toContain(secret)
})

test('--json prints one object for programs', async () => {
  const running = start(['serve', '--port', '0', '--json', '--url', 'memory:'])
  await expect.poll(running.out, { timeout: 20_000 }).toContain('\n')
  const said = JSON.parse(running.out())
  expect(said).toMatchObject({ url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), token: false })
  expect((await fetch(`${said.url}/readyz`)).status).toBe(200)
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

test('SIGTERM ends it though another program keeps the lock of the store', async () => {
  const { child, base, ended } = await serve()
  const other = new DatabaseSync(join(dir, 'store', 'bus.db'))
  other.exec('BEGIN IMMEDIATE')
  const waiting = publish(base, 's.locked', 1).catch(() => undefined)
  child.kill('SIGTERM')
  await ended
  await waiting
  other.close()
})
