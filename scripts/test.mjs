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
/** More files than these do not fail by chance. */
const againMost = 3

function run(command, args) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' })
  if (error) say(`${command} did not start: ${error.message}`)
  if (signal) say(`${command} was killed by ${signal}`)
  return status === 0
}

let vitest
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => vitest?.kill(signal))

/** In a process group of its own, so that the reporter can end a run that hangs with all its processes; Ctrl-C is passed on. */
async function runTests(files, report) {
  process.env.COZEBUS_TEST_REPORT = report
  const args = ['run', '--reporter=default', `--reporter=${join(import.meta.dirname, 'report.mjs')}`, ...files]
  const windows = process.platform === 'win32'
  vitest = spawn('vitest', args, { stdio: 'inherit', shell: windows, detached: !windows })
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

async function results(name, files) {
  const report = join(dir, `${name}.json`)
  const good = await runTests(files, report)
  try {
    const { files, unhandled } = JSON.parse(readFileSync(report, 'utf8'))
    return { good, files, unhandled }
  } catch {
    return { good: false, files: [], unhandled: 0, unwritten: true }
  }
}

const isRed = ({ broken, tests }) => broken || tests.some(({ state }) => state === 'failed')
const unsteady = []

/**
 * The gate runs the tests of real brokers on a machine that others share: what failed is run once more, alone and from nothing.
 * What passes then is no reason to hold up a release, and is told, with what went wrong, to be mended.
 */
async function runAgain(first) {
  const red = first.files.filter(isRed)
  const whole = first.files.every(({ state }) => state === 'passed' || state === 'failed' || state === 'skipped')
  if (!process.env.CI || red.length === 0 || red.length > againMost || !whole || first.unhandled > 0) return first
  say(`\nrun again, alone: ${red.map(({ name }) => relative(process.cwd(), name)).join(', ')}`)
  const second = await results(
    'second',
    red.map(({ name }) => name),
  )
  const files = first.files.map((file) => {
    const again = second.files.find(({ name }) => name === file.name)
    if (!isRed(file) || !again || again.broken) return file
    const steady = new Map(again.tests.map((test) => [test.name, test]))
    const path = relative(process.cwd(), file.name)
    if (file.broken) unsteady.push(`${path}: it could not be run`)
    const tests = (file.broken ? again : file).tests.map((test) => {
      if (test.state !== 'failed' || steady.get(test.name)?.state !== 'passed') return test
      unsteady.push(`${path}: ${test.name}${test.error === undefined ? '' : `\n    ${test.error}`}`)
      return steady.get(test.name)
    })
    return { ...file, broken: false, tests }
  })
  return { ...first, files, good: second.good && !files.some(isRed) }
}

const { good, files, unhandled, unwritten } = await runAgain(await results('first', only))
if (unwritten) failures.push('the test runner: it wrote no report')
if (unhandled > 0) failures.push(`${unhandled} errors outside of tests, see above`)
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
if (!good && failures.length === 0) failures.push('the test runner: it ended with an error, see above')
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
if (unsteady.length > 0) say(`failed at first, and passed when run again alone:\n${unsteady.map((one) => `  ${one}`).join('\n')}`)
if (failures.length > 0) say(`failed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`)
say(`${passed} passed, ${failures.length} failed`)
process.exit(failures.length > 0 ? 1 : 0)
