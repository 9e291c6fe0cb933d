import { test } from 'vitest'
import { mainPath } from '../cli/main-path.ts'
import { describeNsq } from '../rig/needs.ts'
import { startNsqd } from '../rig/nsq.ts'

await describeNsq('the server over it', () => {
  const works = mainPath()

  test('publish, pull, retry, reject, replay and stop, by COZEBUS_URL alone', async () => {
    await using broker = await startNsqd()
    await works(broker.url, { nsq: { http: [broker.http] } })
  }, 180_000)
})
