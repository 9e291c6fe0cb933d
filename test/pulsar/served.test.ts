import { test } from 'vitest'
import { mainPath } from '../cli/main-path.ts'
import { describePulsar } from '../rig/needs.ts'
import { startPulsar } from '../rig/pulsar.ts'

await describePulsar('the server over it', () => {
  const works = mainPath()

  test('publish, pull, retry, reject, replay and stop, by COZEBUS_URL', async () => {
    await using broker = await startPulsar()
    await works(broker.url, { pulsar: { admin: broker.admin } })
  }, 180_000)
})
