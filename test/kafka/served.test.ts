import { test } from 'vitest'
import { mainPath } from '../cli/main-path.ts'
import { startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'

await describeKafka('the server over it', () => {
  const works = mainPath()

  test('publish, pull, retry, reject, replay and stop, by COZEBUS_URL alone', async () => {
    await using broker = await startKafka()
    await works(broker.url)
  }, 180_000)
})
