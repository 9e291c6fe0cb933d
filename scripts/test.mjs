// The one test command: types, lint, tests; then what ran, what was skipped and why, what failed, and a line that counts.
// With arguments only the tests they name run: `npm test -- test/core`, or `npm test -- --engine kafka` for all of one engine.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'
import { parseArgs } from 'node:util'

const say = (text) => process.stdout.write(`${text}\n`)
const refuse = (why) => {
  say(`${why}\nusage: npm test [-- <files or folders>] [-- --engine <name>]`)
  process.exit(2)
}

function given() {
  try {
    return parseArgs({ allowPositionals: true, options: { engine: { type: 'string', multiple: true, default: [] } } })
  } catch (error) {
    refuse(error.message)
  }
}

/** An engine's tests have its name in their path: a folder of its own, its conformance, the rig's, Coze's on it. */
function testsOf(engine) {
  const named = new RegExp(`(^|[/-])${engine.replace(/\W/g, '')}[/.-]`)
  const files = readdirSync('test', { recursive: true })
    .map((file) => `test/${file.split(sep).join('/')}`)
    .filter((file) => file.endsWith('.test.ts') && named.test(file.slice('test/'.length)))
  if (files.length === 0) refuse(`there is no test of an engine '${engine}'`)
  return files.sort()
}

const {
  values: { engine: engines },
  positionals,
} = given()
const only = [...positionals, ...engines.flatMap(testsOf)]
const failures = []

function run(command, args) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' })
  if (error) say(`${command} did not start: ${error.message}`)
  if (signal) say(`${command} was killed by ${signal}`)
  return status === 0
}

/** In a process group of its own, so that the reporter can end a run that hangs with all its processes; Ctrl-C is passed on. */
async function runTests() {
  const args = ['run', '--reporter=default', `--reporter=${join(import.meta.dirname, 'report.mjs')}`, ...only]
  const windows = process.platform === 'win32'
  const vitest = spawn('vitest', args, { stdio: 'inherit', shell: windows, detached: !windows })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => vitest.kill(signal))
  const [status, signal] = await once(vitest, 'exit').catch((error) => [`it did not start: ${error.message}`])
  if (status !== 0 && status !== 1) say(`vitest: ${signal ? `killed by ${signal}` : status}`)
  return status === 0
}

say(`cozebus tests on Node ${process.version}, ${process.platform} ${process.arch}`)
if (only.length === 0) {
  if (!run('tsc', ['--noEmit'])) failures.push('types (npx tsc --noEmit)')
  if (!run('biome', ['check', '.'])) failures.push('lint (npm run fix mends most)')
}
if (positionals.length === 0 && !run('node', ['test/rig/prepare.ts', ...engines]))
  failures.push('the servers for the tests (node test/rig/prepare.ts)')

const dir = mkdtempSync(join(tmpdir(), 'cozebus-test-'))
const report = join(dir, 'report.json')
process.env.COZEBUS_TEST_REPORT = report
const tested = await runTests()
let files = []
try {
  const written = JSON.parse(readFileSync(report, 'utf8'))
  files = written.files
  if (written.unhandled > 0) failures.push(`${written.unhandled} errors outside of tests, see above`)
} catch {
  failures.push('the test runner: it wrote no report')
}
rmSync(dir, { recursive: true, force: true })

const areas = new Map()
const reasons = new Map()
let passed = 0
let skipped = 0
let unrun = 0
for (const { name: file, state: how, broken, tests } of files) {
  const path = relative(process.cwd(), file)
  const [, folder, rest] = path.split(sep)
  const area = rest === undefined ? 'test' : folder
  const counts = areas.get(area) ?? areas.set(area, { passed: 0, failed: 0, skipped: 0 }).get(area)
  const fail = (what) => {
    failures.push(`${path}: ${what}`)
    counts.failed++
  }
  // A file that could not be set up calls its tests skipped.
  if (broken) fail('it could not be run')
  else if (how === 'queued' || how === 'pending') fail('it was not over when the run was ended')
  for (const { name, state, note, error, running } of tests) {
    // The reason is given to skip(), or stands at the end of the name.
    const [, short, reason] = /^(.*?)(?: \(([^()]+)\))?$/s.exec(name)
    const why = note ?? reason
    if (state === 'passed') {
      passed++
      counts.passed++
    } else if (state === 'failed') fail(error === undefined ? name : `${name}\n    ${error}`)
    else if (running) fail(`${name} (it was running)`)
    else if (state === 'pending') unrun++
    else if (why !== undefined) {
      skipped++
      counts.skipped++
      const names = reasons.get(why) ?? reasons.set(why, []).get(why)
      names.push(note === undefined ? short : name)
    } else if (!broken) fail(`${name} (skipped, and nothing says why)`)
  }
}
if (!tested && failures.length === 0) failures.push('the test runner: it ended with an error, see above')
if (passed === 0) failures.push('no test passed')

say('\nran:')
for (const [area, counts] of [...areas].sort(([a], [b]) => (a < b ? -1 : 1)))
  say(
    `  ${area.padEnd(14)}${Object.entries(counts)
      .flatMap(([name, n]) => (n > 0 ? `${n} ${name}` : []))
      .join(', ')}`,
  )
if (skipped > 0) say(`skipped ${skipped}, and why:`)
for (const [reason, names] of reasons) say(`  ${reason}:\n${names.map((name) => `    ${name}`).join('\n')}`)
if (unrun > 0) say(`${unrun} more tests had not begun when the run was ended`)
if (failures.length > 0) say(`failed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`)
say(`${passed} passed, ${failures.length} failed`)
process.exit(failures.length > 0 ? 1 : 0)
