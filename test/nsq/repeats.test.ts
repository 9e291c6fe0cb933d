import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { describeNsq } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'
import { busAt, nsqd } from './support.ts'

await describeNsq('what is done, and nsqd may not know of', () => {
  test('work that ended in a hole of the network long before anybody noticed is not done again', async () => {
    const node = await nsqd()
    const proxy = await startProxy(node.ports.tcp)
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const bus = await busAt(`nsq://127.0.0.1:${proxy.port}`, { http: [node.http] })
    const runs: unknown[] = []
    const gate = Promise.withResolvers<void>()
    const work = await bus.subscribe('t', { group: 'g', concurrency: 10, lease: '2s' }, async ({ body }) => {
      runs.push(body)
      await gate.promise
    })
    for (let n = 0; n < 10; n++) await bus.publish('t', n)
    await expect.poll(() => runs.length).toBe(10)
    proxy.set({ blackhole: true })
    gate.resolve()
    await expect.poll(() => work.status().handled).toBe(10)
    await sleep(4000)
    proxy.cut()
    proxy.set({ blackhole: false })
    await expect.poll(async () => bus.admin.lag('t', 'g'), { timeout: 30_000 }).toBe(0)
    expect(runs.length).toBe(10)
  }, 60_000)
})
