import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const dir = mkdtempSync(join(tmpdir(), 'cozebus-package-'))
const app = join(dir, 'app')
const tarball = join(dir, `${manifest.name}-${manifest.version}.tgz`)
afterAll(() => rmSync(dir, { recursive: true, force: true }))

// What was installed runs on the Node that runs the tests. npm keeps its own, as it finds its configuration by it.
const env = { ...process.env, PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) }
const execute = promisify(execFile)

/** Resolves to what it printed; a failure shows that too. */
async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  try {
    const { stdout, stderr } = await execute(command, args, { cwd, env: command === 'npm' ? process.env : env, maxBuffer: 2 ** 26 })
    return stdout + stderr
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  }
}

const bin = (name: string): string => join(root, 'node_modules', '.bin', name)

beforeAll(async () => {
  await run(root, 'npm', 'pack', '--pack-destination', dir)
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }))
  // What a TypeScript project on Node has, and what the README's example uses.
  const others = ['@types/node', 'zod'].map((name) => `${name}@${manifest.devDependencies[name]}`)
  await run(app, 'npm', 'install', '--prefix', app, '--no-audit', '--no-fund', '--prefer-offline', tarball, ...others)
}, 180_000)

test('the package holds what a user needs, and nothing else', async () => {
  const files = (await run(dir, 'tar', '-tzf', tarball)).trim().split('\n')
  const ours = /^package\/(package\.json|README\.md|CHANGELOG\.md|LICENSE|docs\/\w+\.md|dist\/.+\.(js|d\.ts))$/
  expect(files.filter((file) => !ours.test(file))).toEqual([])
  // The engines that are broken on purpose, to test the suite itself, are ours alone.
  expect(files.filter((file) => /models\/(broken|queue)|\.test\./.test(file))).toEqual([])
  // Whoever reads the README where it is installed finds the pages that it leads to.
  const pages = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\((docs\/[^)#]+)/g)].map(([, page]) => page!)
  expect(pages.length).toBeGreaterThan(2)
  for (const needed of [...pages, 'README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js'])
    expect(files).toContain(`package/${needed}`)
})

test('publint and are-the-types-wrong find nothing', async () => {
  expect(await run(root, bin('publint'), tarball, '--strict')).toContain('All good')
  const looked = await run(root, bin('attw'), tarball, '--profile', 'esm-only', '--format', 'ascii')
  expect(looked).toContain('cozebus/testing')
  expect(looked).toContain('node16 (from ESM): 🟢 (ESM)')
}, 60_000)

test('JavaScript uses it: publishes, retries, gives up, replays', async () => {
  writeFileSync(
    join(app, 'use.js'),
    `import assert from 'node:assert/strict'
import { connect, Reject, topic } from 'cozebus'
import { conformance, History } from 'cozebus/testing'

assert.equal(typeof conformance, 'function')
assert.equal(new History().entries.length, 0)
const jobs = topic('jobs.{team}', { key: (job) => job.id })
const bus = await connect('file:./store')
let broken = true
const done = Promise.withResolvers()
await bus.subscribe(jobs, { group: 'workers' }, (message) => {
  if (broken) throw new Reject('not yet')
  done.resolve(message.params.team)
})
await bus.publish(jobs.with({ team: 'a' }), { id: 'j1' })
const desk = bus.admin.deadLetters(jobs, 'workers')
while ((await desk.count()) === 0) await new Promise((wait) => setTimeout(wait, 20))
broken = false
assert.equal(await desk.replay({}), 1)
assert.equal(await done.promise, 'a')
await bus.close()
console.log('used')
`,
  )
  expect(await run(app, process.execPath, 'use.js')).toContain('used')
})

const use = `import { type Bus, connect, type Message, Retry, topic } from 'cozebus'
import { conformance, type Engine, type SuiteTest } from 'cozebus/testing'

const jobs = topic('jobs.{team}.{event}')
export async function use(engine: Engine): Promise<SuiteTest[]> {
  await using bus: Bus = await connect('memory:')
  await bus.subscribe(jobs.where({ event: 'added' }), { group: 'workers', lease: '1m' }, (message, delivery) => {
    const team: string = message.params.team
    if (delivery.attempt < 2) throw new Retry({ after: '1s', reason: team })
  })
  await bus.publish(jobs.with({ team: 'a', event: 'added' }), { any: 'json' })
  // @ts-expect-error a parameter is missing
  jobs.with({ team: 'a' })
  // @ts-expect-error a duration is ms or a text with a unit
  await bus.request('agent.ask', {}, { timeout: '5 parsecs' })
  return conformance({ name: 'mine', open: async () => engine })
}
export const id = (message: Message): string => message.id
`

describe('TypeScript checks it without skipLibCheck', () => {
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ] as const)
    test(`moduleResolution ${moduleResolution}`, async () => {
      writeFileSync(join(app, 'use.ts'), use)
      const options = ['--module', module, '--moduleResolution', moduleResolution, '--target', 'es2022']
      await run(app, bin('tsc'), '--strict', '--noEmit', '--exactOptionalPropertyTypes', ...options, 'use.ts')
    }, 60_000)
})

test('the example of the README runs as it stands there', async () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, code] = /```ts\n(.*?)```/s.exec(readme)!
  expect(code!.trim().split('\n').length).toBeLessThanOrEqual(22)
  const place = join(app, 'readme')
  mkdirSync(place)
  writeFileSync(join(place, 'example.ts'), code!)
  // What TypeScript makes of it for the oldest target also runs where `await using` is not known yet.
  await run(place, bin('tsc'), '--strict', '--module', 'nodenext', '--target', 'es2022', 'example.ts')
  await run(place, process.execPath, 'example.js')
  const ours = ['--no-install', 'cozebus', '--json', '--url', `file:${join(place, '.cozebus')}`]
  const groups = JSON.parse(await run(app, 'npx', ...ours, 'groups', 'ls', 'docs.*.*'))
  expect(groups).toMatchObject([{ group: 'indexer', deadLetters: 0 }])
  const topics = JSON.parse(await run(app, 'npx', ...ours, 'topics', 'ls'))
  expect(topics).toMatchObject([{ messages: 1 }])
}, 60_000)

test('the command is there', async () => {
  const help = await run(app, 'npx', '--no-install', 'cozebus', '--help')
  for (const command of ['serve', 'pub', 'sub', 'topics', 'groups', 'dlq', 'doctor', 'bench']) expect(help).toContain(command)
  expect((await run(app, 'npx', '--no-install', 'cozebus', '--version')).trim()).toBe(manifest.version)
  const checks = JSON.parse(await run(app, 'npx', '--no-install', 'cozebus', 'doctor', '--json', '--url', 'file:./doctor'))
  expect(checks.filter(({ ok }: { ok: boolean }) => !ok)).toEqual([])
  expect(checks.map(({ check }: { check: string }) => check)).toContain('round trip')
}, 60_000)
