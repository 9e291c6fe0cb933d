// The one test command: types, lint, tests; then what was skipped and why, and a line that counts.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-test-'))
const report = join(dir, 'report.json')
const run = (command, args) => spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' }).status === 0

console.log(`cozebus tests on Node ${process.version}, ${process.platform} ${process.arch}`)
const only = process.argv.slice(2)
const checked = only.length > 0 || (run('tsc', ['--noEmit']) && run('biome', ['check', '.']))
const tested = run('vitest', ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...only])

let passed = 0
let failed = 0
let skipped = 0
try {
  for (const file of JSON.parse(readFileSync(report, 'utf8')).testResults) {
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed++
      else if (test.status === 'failed') failed++
      else {
        skipped++
        console.log(`skipped: ${test.fullName}`)
      }
    }
    if (file.status === 'failed' && file.assertionResults.length === 0) failed++
  }
} catch {
  console.log('no report was written: the runner itself failed')
}
rmSync(dir, { recursive: true, force: true })
if (!checked) {
  console.log('types or lint failed, see above')
  failed++
}
if (!tested && failed === 0) failed++
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
