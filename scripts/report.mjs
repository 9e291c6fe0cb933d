// What test.mjs wants to know of each test, the reason of a skip included, which Vitest's own JSON leaves out.
import { writeFileSync } from 'node:fs'

export default class Report {
  onTestRunEnd(modules, unhandled) {
    const files = modules.map((module) => ({
      name: module.moduleId,
      broken: module.errors().length > 0,
      tests: [...module.children.allTests()].map((test) => ({ name: test.fullName, ...outcome(test) })),
    }))
    writeFileSync(process.env.COZEBUS_TEST_REPORT, JSON.stringify({ files, unhandled: unhandled.length }))
  }
}

function outcome(test) {
  const { state, note } = test.result()
  return { state, note: note ?? (state === 'skipped' ? skippedWith(test.parent) : undefined) }
}

/** A suite that is skipped as a whole says why at the end of its name. */
function skippedWith(suite) {
  for (let around = suite; around.type === 'suite'; around = around.parent) {
    const reason = around.options.mode === 'skip' && /\(([^()]+)\)$/.exec(around.name)
    if (reason) return reason[1]
  }
}
