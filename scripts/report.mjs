// What test.mjs wants to know of each test, the reason of a skip included, which Vitest's own JSON leaves out. It also ends a run
// that would never end: a test may time out, what a file does while it is collected, or a loop that yields to nobody, may not.
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

const minute = 60_000
/** Without a word from any test; the longest that is silent by right is a hook of two minutes. */
const silentMost = 6 * minute
const runMost = 45 * minute
/** Between the last test and the end of the process. */
const leaveMost = 2 * minute
/** Characters. */
const errorMost = 400

export default class Report {
  #modules = new Map()
  #running = new Set()
  #begun = performance.now()
  #heard = performance.now()
  #ended = false

  onTestRunStart() {
    setInterval(() => this.#look(), 5000).unref()
  }

  onTestModuleQueued(module) {
    this.#hear(module)
  }

  onTestModuleCollected(module) {
    this.#hear(module)
  }

  onTestModuleEnd(module) {
    this.#hear(module)
  }

  onTestCaseReady(test) {
    this.#hear(test.module)
    this.#running.add(test.id)
  }

  onTestCaseResult(test) {
    this.#hear(test.module)
    this.#running.delete(test.id)
  }

  onTestRunEnd(modules, unhandled) {
    this.#heard = performance.now()
    this.#ended = true
    write(modules, this.#running, unhandled.length)
  }

  #hear(module) {
    this.#heard = performance.now()
    this.#modules.set(module.moduleId, module)
  }

  #look() {
    const now = performance.now()
    if (this.#ended) {
      if (now - this.#heard > leaveMost) end(`the tests are over, and their process did not end within ${leaveMost / minute} minutes`)
      return
    }
    const silent = now - this.#heard > silentMost
    if (!silent && now - this.#begun < runMost) return
    write([...this.#modules.values()], this.#running, 0)
    end(silent ? `no test began or ended for ${silentMost / minute} minutes` : `the tests were not over after ${runMost / minute} minutes`)
  }
}

/** The processes of the test files with it: test.mjs made this one the leader of a group. */
function end(why) {
  process.stderr.write(`\n${why}: the run is ended here\n`)
  process.kill(process.platform === 'win32' ? process.pid : -process.pid, 'SIGKILL')
}

function write(modules, running, unhandled) {
  const files = modules.map((module) => ({
    name: module.moduleId,
    state: module.state(),
    broken: module.errors().length > 0,
    tests: [...module.children.allTests()].map((test) => ({ name: test.fullName, ...outcome(test), running: running.has(test.id) })),
  }))
  writeFileSync(process.env.COZEBUS_TEST_REPORT, JSON.stringify({ files, unhandled }))
}

function outcome(test) {
  const { state, note, errors } = test.result()
  return {
    state,
    note: note ?? (state === 'skipped' ? skippedWith(test.parent) : undefined),
    error: errors?.length > 0 ? shown(errors[0]) : undefined,
  }
}

/** What went wrong and where, in a line: the whole stands far above in the log, where it may be cut off. */
function shown({ message = '', stacks = [] }) {
  const text = stripVTControlCharacters(message).replace(/\s+/g, ' ').trim()
  const at = stacks[0] && ` (${relative(process.cwd(), stacks[0].file)}:${stacks[0].line})`
  return `${text.length > errorMost ? `${text.slice(0, errorMost)}…` : text}${at ?? ''}`
}

/** A suite that is skipped as a whole says why at the end of its name. */
function skippedWith(suite) {
  for (let around = suite; around.type === 'suite'; around = around.parent) {
    const reason = around.options.mode === 'skip' && /\(([^()]+)\)$/.exec(around.name)
    if (reason) return reason[1]
  }
}
