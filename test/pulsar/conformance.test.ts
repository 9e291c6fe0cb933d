import { afterAll, test } from 'vitest'
import { openPulsar } from '../../src/engines/pulsar/engine.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { conformance } from '../../src/testing/suite.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'

await describePulsar('the Pulsar engine', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())
  const tests = await conformance({
    name: 'pulsar',
    ledger: memoryLedger(),
    patienceMs: 20_000,
    open: () => openPulsar(broker.url, { admin: broker.admin, returnMs: 2000 }),
    restart: () => broker.restart(),
  })
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run(), 90_000)
})
