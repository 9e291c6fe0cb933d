import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, vi } from 'vitest'

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export interface Running {
  readonly child: ChildProcess
  /** What it has written so far. */
  out(): string
  err(): string
  readonly ended: Promise<Ran>
}

export interface Shell {
  readonly dir: string
  readonly url: string
  start(args: readonly string[], more?: Record<string, string>): Running
  run(args: readonly string[], input?: string | Uint8Array, more?: Record<string, string>): Promise<Ran>
  /** The JSON that a command prints. @throws when it fails */
  json(args: readonly string[], input?: string): Promise<any>
  /** `serve` on a free port, once it listens. */
  serve(args?: readonly string[], more?: Record<string, string>): Promise<Running & { readonly base: string }>
}

const main = join(import.meta.dirname, '../../src/cli/main.ts')

/** The CLI as a child process, in a folder of its own, which is gone after the file's tests with whatever still runs. */
export function shell(): Shell {
  // Each command is a process; a busy machine takes a second to start one.
  vi.setConfig({ testTimeout: 120_000 })
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-cli-'))
  const url = `file:${dir}/store`
  const alive = new Set<ChildProcess>()
  afterAll(async () => {
    for (const child of alive) child.kill('SIGKILL')
    await rm(dir, { recursive: true, force: true })
  })
  const env: Record<string, string | undefined> = { ...process.env, COZEBUS_URL: url, NODE_NO_WARNINGS: '1' }
  for (const name of ['PORT', 'COZEBUS_HOST', 'COZEBUS_TOKEN', 'COZEBUS_TOKEN_FILE', 'NO_COLOR', 'FORCE_COLOR']) delete env[name]

  const start: Shell['start'] = (args, more = {}) => {
    const child = spawn(process.execPath, [main, ...args], { cwd: dir, env: { ...env, ...more }, stdio: ['pipe', 'pipe', 'pipe'] })
    alive.add(child)
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => (out += chunk))
    child.stderr.on('data', (chunk) => (err += chunk))
    // One that ends without reading its input is no failure of the test.
    child.stdin.on('error', () => {})
    const ended = new Promise<Ran>((resolve) =>
      child.on('close', (code) => {
        alive.delete(child)
        resolve({ code, out, err })
      }),
    )
    return { child, out: () => out, err: () => err, ended }
  }
  const run: Shell['run'] = (args, input = '', more = {}) => {
    const { child, ended } = start(args, more)
    child.stdin!.end(input)
    return ended
  }
  return {
    dir,
    url,
    start,
    run,
    async json(args, input) {
      const { code, out, err } = await run([...args, '--json'], input)
      expect([args, code, err]).toEqual([args, 0, ''])
      return JSON.parse(out)
    },
    async serve(args = [], more = {}) {
      const running = start(['serve', '--port', '0', ...args], more)
      await expect.poll(running.out, { timeout: 20_000 }).toContain('follow:')
      return { ...running, base: /listens on (\S+)/.exec(running.out())![1]! }
    },
  }
}

/** JSON lines, parsed. */
export function lines(text: string): any[] {
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}
