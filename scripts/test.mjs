// The one test command: types, lint, tests; then what ran, what was skipped and why, what failed, and a line that counts.
// With arguments only the tests they name run: `npm test -- test/core`.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'

const only = process.argv.slice(2)
const failures = []
const say = (text) => process.stdout.write(`${text}\n`)

function run(command, args) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' })
  if (error) say(`${command} did not start: ${error.message}`)
  if (signal) say(`${command} was killed by ${signal}`)
  return status === 0
}

say(`cozebus tests on Node ${process.version}, ${process.platform} ${process.arch}`)
if (only.length === 0) {
  if (!run('tsc', ['--noEmit'])) failures.push('types (npx tsc --noEmit)')
  if (!run('biome', ['check', '.'])) failures.push('lint (npm run fix mends most)')
  if (!run('node', ['test/rig/prepare.ts'])) failures.push('the servers for the tests (node test/rig/prepare.ts)')
}

const dir = mkdtempSync(join(tmpdir(), 'cozebus-test-'))
const report = join(dir, 'report.json')
process.env.COZEBUS_TEST_REPORT = report
const tested = run('vitest', ['run', '--reporter=default', `--reporter=${join(import.meta.dirname, 'report.mjs')}`, ...only])
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
for (const { name: file, broken, tests } of files) {
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
  for (const { name, state, note } of tests) {
    // The reason is given to skip(), or stands at the end of the name.
    const [, short, reason] = /^(.*?)(?: \(([^()]+)\))?$/s.exec(name)
    const why = note ?? reason
    if (state === 'passed') {
      passed++
      counts.passed++
    } else if (state === 'failed') fail(name)
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
if (failures.length > 0) say(`failed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`)
say(`${passed} passed, ${failures.length} failed`)
process.exit(failures.length > 0 ? 1 : 0)
