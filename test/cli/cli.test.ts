import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
afterAll(() => rm(dir, { recursive: true, force: true }))
const env = { ...process.env, COZEBUS_URL: `file:${dir}/store`, NO_COLOR: '1' }
delete (env as Record<string, unknown>).PORT

function start(args: readonly string[], more: Record<string, string> = {}) {
  return spawn(process.execPath, ['src/cli/main.ts', ...args], { env: { ...env, ...more }, stdio: ['pipe', 'pipe', 'pipe'] })
}

async function run(
  args: readonly string[],
  input = '',
  more: Record<string, string> = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const child = start(args, more)
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (err += chunk))
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return { code, out, err }
}

test('pub reads JSON lines, sub gives them back, groups shows no lag', async () => {
  expect((await run(['pub', 'c.lines'], '{"n":1}\n{"n":2}\n')).code).toBe(0)
  const got = await run(['sub', 'c.lines', '--group', 'g', '--limit', '2', '--json'])
  expect(
    got.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).body.n),
  ).toEqual([1, 2])
  expect(JSON.parse((await run(['groups', 'ls', 'c.lines', '--json'])).out)).toMatchObject([{ group: 'g', lag: 0, members: 0 }])
})

test('sub --exec runs a command a message', async () => {
  await run(['pub', 'c.exec', '{"hello":"world"}', '--key', 'k'])
  const got = await run(['sub', 'c.exec', '--exec', 'cat; echo " $COZEBUS_KEY $COZEBUS_ATTEMPT"', '--limit', '1'])
  expect(got.out).toContain('{"hello":"world"} k 1')
})

test('doctor is well; errors have their exit codes and no stack', async () => {
  expect(await run(['doctor'])).toMatchObject({ code: 0 })
  const bad = await run(['pub', 'bad topic', '1'])
  expect(bad.code).toBe(2)
  expect(bad.err).not.toContain('    at ')
  expect((await run(['nonsense'])).code).toBe(2)
  expect((await run(['topics', 'rm', 'no.such'])).code).toBe(6)
  expect((await run(['pub', 'a', '1', '--url', 'ftp://x'])).code).toBe(2)
})

test('serve answers, and drains at SIGTERM; beyond loopback it asks for a token', async () => {
  const refused = await run(['serve', '--host', '0.0.0.0', '--port', '0'])
  expect([refused.code, refused.err.includes('COZEBUS_TOKEN')]).toEqual([2, true])
  const child = start(['serve', '--port', '0'])
  let out = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  await expect.poll(() => out, { timeout: 10_000 }).toContain('follow:')
  const base = /listens on (\S+)/.exec(out)![1]!
  const sent = await fetch(`${base}/v1/topics/c.http/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  expect(sent.status).toBe(201)
  child.kill('SIGTERM')
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0)
})
