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
}

const dir = mkdtempSync(join(tmpdir(), 'cozebus-test-'))
const report = join(dir, 'report.json')
const tested = run('vitest', ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...only])
let files = []
try {
  files = JSON.parse(readFileSync(report, 'utf8')).testResults
} catch {
  failures.push('the test runner: it wrote no report')
}
rmSync(dir, { recursive: true, force: true })

const areas = new Map()
const reasons = new Map()
let passed = 0
let skipped = 0
for (const file of files) {
  const path = relative(process.cwd(), file.name)
  const [, folder, rest] = path.split(sep)
  const area = rest === undefined ? 'frame' : folder
  const counts = areas.get(area) ?? areas.set(area, { passed: 0, failed: 0, skipped: 0 }).get(area)
  if (file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed')) {
    // Its tests are called skipped then; what failed stands above.
    failures.push(`${path}: it could not be run`)
    counts.failed++
    continue
  }
  for (const { status, fullName } of file.assertionResults) {
    const reason = /\(([^()]+)\)$/.exec(fullName)
    if (status === 'passed') {
      passed++
      counts.passed++
    } else if (status === 'failed' || !reason) {
      // A test that is skipped and does not say why is as good as none.
      failures.push(`${path}: ${fullName}${status === 'failed' ? '' : ` (${status}, and its name does not say why)`}`)
      counts.failed++
    } else {
      skipped++
      counts.skipped++
      const names = reasons.get(reason[1]) ?? reasons.set(reason[1], []).get(reason[1])
      names.push(fullName.slice(0, reason.index).trim())
    }
  }
}
if (!tested && failures.length === 0) failures.push('the test runner: errors outside of tests, see above')
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
