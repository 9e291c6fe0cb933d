import { describe, test } from 'vitest'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { logModel } from '../../src/testing/models/log.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { conformance } from '../../src/testing/suite.ts'

for (const [name, make] of [
  ['log', () => logModel()],
  ['queue', () => queueModel()],
] as const) {
  const broker = make()
  const tests = await conformance({
    name,
    ledger: memoryLedger(),
    open: () => broker.connect(),
    restart: async () => broker.restart(),
    crash: async (engine) => broker.crash(engine),
  })
  describe(`the ${name} model`, () => {
    for (const one of tests)
      test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())
  })
}
