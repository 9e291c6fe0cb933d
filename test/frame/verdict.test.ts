import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')

/** A small project with our test command and our configuration. */
function project(files: Record<string, string>): string {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-verdict-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  for (const name of ['scripts/test.mjs', 'scripts/report.mjs', 'tsconfig.json', 'vitest.config.ts'])
    cpSync(join(root, name), join(dir, name))
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'))
  writeFileSync(join(dir, 'biome.json'), '{ "files": { "includes": ["test/**"] }, "formatter": { "enabled": false } }')
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(dir, 'test', 'area'), { recursive: true })
  mkdirSync(join(dir, 'test', 'rig'))
  // This project needs no servers.
  writeFileSync(join(dir, 'test', 'rig', 'prepare.ts'), '')
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, 'test', 'area', name), text)
  return dir
}

function verdict(dir: string, args: string[] = [], CI?: string): { lines: string[]; code: number | null } {
  const PATH = [dirname(process.execPath), join(root, 'node_modules', '.bin'), process.env['PATH']].join(delimiter)
  // Vitest inside of Vitest must not take itself for a worker.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST') && name !== 'TEST'))
  const { stdout, status } = spawnSync(process.execPath, ['scripts/test.mjs', ...args], {
    cwd: dir,
    env: { ...env, PATH, ...(CI === undefined ? {} : { CI }) },
    encoding: 'utf8',
  })
  return { lines: stdout.trimEnd().split('\n'), code: status }
}

const good = `import { expect, test } from 'vitest'\n\ntest('adds', () => {\n  expect(1 + 1).toBe(2)\n})\n`

/** Fails unless it ran before. */
const unsteady = `import { existsSync, writeFileSync } from 'node:fs'\nimport { expect, test } from 'vitest'\n\ntest('stands', () => {\n  const before = existsSync('ran')\n  writeFileSync('ran', '')\n  expect(before).toBe(true)\n})\n`
const bad = `import { expect, test } from 'vitest'\n\ntest('subtracts', () => {\n  expect(1 - 1).toBe(1)\n})\n`

test('all well: what ran, what was skipped and why, and exit code 0', () => {
  const skipped = `import { test } from 'vitest'\n\ntest.skip('flies (no wings here)', () => {})\n\ntest('swims', ({ skip }) => {\n  skip('no water')\n})\n`
  const { lines, code } = verdict(project({ 'good.test.ts': good, 'skipped.test.ts': skipped }))
  expect(lines.slice(lines.indexOf('ran:'))).toEqual([
    'ran:',
    '  area          1 passed, 2 skipped',
    'skipped 2, and why:',
    '  no wings here:',
    '    flies',
    '  no water:',
    '    swims',
    '1 passed, 0 failed',
  ])
  expect(code).toBe(0)
}, 60_000)

test('a failing test, an unexplained skip, a file that cannot be run, a type error and a lint error each count, and exit code 1', () => {
  const { lines, code } = verdict(
    project({
      'good.test.ts': good,
      'bad.test.ts': `${bad}\ntest.skip('sings', () => {})\n`,
      'broken.test.ts': `import './not-there.ts'\n`,
      'types.ts': `export const n: number = 'one'\n`,
      'lint.ts': `export function f(a: unknown): boolean {\n  return a == 1\n}\n`,
    }),
  )
  const told = lines.slice(lines.indexOf('failed:'))
  expect(told.filter((line) => !line.startsWith('    '))).toEqual([
    'failed:',
    '  types (npx tsc --noEmit)',
    '  lint (npm run fix mends most)',
    expect.stringContaining('test/area/'),
    expect.stringContaining('test/area/'),
    expect.stringContaining('test/area/'),
    '1 passed, 5 failed',
  ])
  const text = told.join('\n')
  for (const part of [
    'bad.test.ts: subtracts\n    expected +0 to be 1 // Object.is equality (test/area/bad.test.ts:4)',
    'bad.test.ts: sings (skipped, and nothing says why)',
    'broken.test.ts: it could not be run',
  ])
    expect(text).toContain(part)
  expect(code).toBe(1)
}, 60_000)

test('the gate runs what failed once more: what passes then is told and does not fail it, what fails again does', () => {
  const { lines, code } = verdict(project({ 'good.test.ts': good, 'unsteady.test.ts': unsteady }), [], 'true')
  expect(lines.slice(lines.indexOf('ran:'))).toEqual([
    'ran:',
    '  area          2 passed',
    'failed at first, and passed when run again alone:',
    '  test/area/unsteady.test.ts: stands',
    '    expected false to be true // Object.is equality (test/area/unsteady.test.ts:7)',
    '2 passed, 0 failed',
  ])
  expect(code).toBe(0)
  const both = verdict(project({ 'bad.test.ts': bad, 'unsteady.test.ts': unsteady }), [], 'true')
  expect(both.lines.at(-1)).toBe('1 passed, 1 failed')
  expect(both.code).toBe(1)
  const many = verdict(
    project({ 'good.test.ts': good, 'a.test.ts': bad, 'b.test.ts': bad, 'c.test.ts': bad, 'unsteady.test.ts': unsteady }),
    [],
    'true',
  )
  expect(many.lines.at(-1)).toBe('1 passed, 4 failed')
  const elsewhere = verdict(project({ 'good.test.ts': good, 'unsteady.test.ts': unsteady }), [], '')
  expect(elsewhere.lines.at(-1)).toBe('1 passed, 1 failed')
  expect(elsewhere.code).toBe(1)
}, 120_000)

test('--engine runs what has the engine in its path, and nothing else; an engine without tests is an error', () => {
  const dir = project({ 'good.test.ts': good, 'kafka-go.test.ts': good })
  mkdirSync(join(dir, 'test', 'kafka'))
  for (const file of ['kafka/a.test.ts', 'rig/kafka.test.ts', 'rig/kafkaesque.test.ts']) writeFileSync(join(dir, 'test', file), good)
  const { lines, code } = verdict(dir, ['--engine', 'kafka'])
  expect(lines.slice(lines.indexOf('ran:'))).toEqual([
    'ran:',
    '  area          1 passed',
    '  kafka         1 passed',
    '  rig           1 passed',
    '3 passed, 0 failed',
  ])
  expect(code).toBe(0)
  expect(verdict(dir, ['--engine', 'kafak'])).toMatchObject({
    lines: expect.arrayContaining(["there is no test of an engine 'kafak'"]),
    code: 2,
  })
}, 60_000)
