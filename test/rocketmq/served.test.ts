import { test } from 'vitest'
import { mainPath } from '../cli/main-path.ts'
import { describeRocketmq } from '../rig/needs.ts'
import { startRocketmq } from '../rig/rocketmq.ts'

await describeRocketmq('the server over it', () => {
  const works = mainPath()

  test('publish, pull, retry, reject, replay and stop, by COZEBUS_URL alone', async () => {
    await using brokers = await startRocketmq()
    await works(brokers.url)
  }, 180_000)
})
