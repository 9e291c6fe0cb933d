import { expect, test } from 'vitest'
import { describeNsq } from './needs.ts'
import { startNsqd, startNsqlookupd } from './nsq.ts'

await describeNsq('the rig for NSQ', () => {
  test('a message outlives a restart, and with everything on disk a kill; the ports stay', async () => {
    await using node = await startNsqd({ memoryQueue: 0, syncEvery: 1 })
    const { tcp, pid } = node
    await node.publish('kept', 'one')
    await node.restart('SIGTERM')
    // What is written is confirmed before it is synced: only the next write shows that it was.
    await node.publish('kept', 'two')
    await node.publish('kept', 'perhaps')
    await node.restart('SIGKILL')
    const stats = JSON.parse(await node.ask('/stats?format=json')) as { topics: { topic_name: string; depth: number }[] }
    expect(stats.topics.find(({ topic_name }) => topic_name === 'kept')!.depth).toBeGreaterThanOrEqual(2)
    expect(node.tcp).toBe(tcp)
    expect(node.pid).not.toBe(pid)
  })

  test('a lookup daemon knows the nsqd that is told of it', async () => {
    await using lookup = await startNsqlookupd()
    await using node = await startNsqd({ lookupd: [lookup.tcp] })
    await node.publish('seen', 'x')
    await expect.poll(async () => await lookup.ask('/lookup?topic=seen').catch(String)).toContain(`"tcp_port":${node.ports.tcp}`)
  })
})
