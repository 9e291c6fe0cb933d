import { expect, test } from 'vitest'
import { describeRocketmq } from './needs.ts'
import { askRemoting } from './remoting.ts'
import { startRocketmq } from './rocketmq.ts'

const topicConfig = 17
const topicRoute = 105
const ok = 0

const fields = (topic: string) => ({
  topic,
  defaultTopic: 'TBW102',
  readQueueNums: '4',
  writeQueueNums: '4',
  perm: '6',
  topicFilterType: 'SINGLE_TAG',
  topicSysFlag: '0',
  order: 'false',
})

await describeRocketmq('the rig', () => {
  test('a broker dies by SIGKILL and comes back on its port with its topics; another is known beside it', async () => {
    await using rocketmq = await startRocketmq({ brokers: 2 })
    for (const { port } of rocketmq.brokers) expect((await askRemoting(port, topicConfig, fields('jobs'))).code).toBe(ok)
    const [first] = rocketmq.brokers
    await first!.restart()
    const route = await askRemoting(rocketmq.nameServer.port, topicRoute, { topic: 'jobs', acceptStandardJsonOnly: 'true' })
    for (const { address } of rocketmq.brokers) expect(route.body).toContain(address)
  }, 90_000)

  test('with a user nobody else comes in', async () => {
    await using rocketmq = await startRocketmq({ user: { accessKey: 'coze', secretKey: 'a-long-secret' } })
    const { code } = await askRemoting(rocketmq.brokers[0]!.port, topicConfig, fields('jobs'))
    expect(code).not.toBe(ok)
  }, 90_000)
})
