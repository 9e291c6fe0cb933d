import { afterAll, test } from 'vitest'
import { openNats } from '../../src/engines/nats/engine.ts'
import { conformance } from '../../src/testing/suite.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

await describeNats('the NATS engine', async (version) => {
  const server = await startNats({ version })
  afterAll(() => server.stop())
  const tests = await conformance({
    name: `nats ${version}`,
    open: () => openNats(server.url),
    restart: () => server.restart().then(() => {}),
  })
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())
})
