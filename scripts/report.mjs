// What test.mjs wants to know of each test, the reason of a skip included, which Vitest's own JSON leaves out.
import { writeFileSync } from 'node:fs'

export default class Report {
  onTestRunEnd(modules, unhandled) {
    const files = modules.map((module) => ({
      name: module.moduleId,
      broken: module.errors().length > 0,
      tests: [...module.children.allTests()].map((test) => ({ name: test.fullName, ...outcome(test.result()) })),
    }))
    writeFileSync(process.env.COZEBUS_TEST_REPORT, JSON.stringify({ files, unhandled: unhandled.length }))
  }
}

function outcome({ state, note }) {
  return { state, note }
}
