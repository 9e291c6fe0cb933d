import { test } from 'vitest'
import { mainPath } from '../cli/main-path.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

await describeNats('the server over it', (version) => {
  const works = mainPath()

  test('publish, pull, retry, reject, replay and stop, by COZEBUS_URL alone', async () => {
    await using broker = await startNats({ version })
    await works(broker.url)
  }, 180_000)
})
