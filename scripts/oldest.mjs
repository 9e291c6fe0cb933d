// Runs the tests on the oldest Node that package.json supports: `npm run test:oldest`, or with the tests to run after `--`.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const [, major, minor] = /^\^(\d+)\.(\d+)/.exec(engines.node)
const version = `${major}.${minor}.0`

// Beside the installed dependencies, so that it comes and goes with them.
const home = join(root, 'node_modules', '.cache', `node-${version}`)
const bin = join(home, 'node_modules', 'node', 'bin')
if (!existsSync(join(bin, 'node'))) {
  process.stderr.write(`cozebus: installing Node ${version} (once)…\n`)
  mkdirSync(home, { recursive: true })
  const args = ['install', '--prefix', home, '--no-save', '--no-audit', '--no-fund', '--loglevel=error', `node@${version}`]
  const { status } = spawnSync('npm', args, { stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' })
  if (status !== 0 || !existsSync(join(bin, 'node'))) {
    process.stderr.write(`cozebus: Node ${version} could not be installed; see above\n`)
    process.exit(1)
  }
}

// Node 22 warns at each start that its SQLite is an experiment; thousands of such lines would hide what matters.
const env = {
  ...process.env,
  PATH: [bin, process.env.PATH].join(delimiter),
  NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --disable-warning=ExperimentalWarning`.trim(),
}
const { status } = spawnSync(join(bin, 'node'), [join(root, 'scripts', 'test.mjs'), ...process.argv.slice(2)], {
  cwd: root,
  env,
  stdio: 'inherit',
})
process.exit(status ?? 1)
