import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { describeNsq } from '../rig/needs.ts'
import type { NsqNode } from '../rig/nsq.ts'
import { freePorts } from '../rig/ports.ts'
import { busOn, nsqd } from './support.ts'

async function waiting(node: NsqNode, count: number): Promise<void> {
  const bodies = Array.from({ length: count }, (_, n) => `"old ${n}"`).join('\n')
  await node.ask('/mpub?topic=t', bodies)
}

const channels = async (node: NsqNode): Promise<string[]> => {
  const { topics } = JSON.parse(await node.ask('/stats?format=json&topic=t')) as { topics: { channels: { channel_name: string }[] }[] }
  return topics.flatMap((topic) => topic.channels.map(({ channel_name }) => channel_name))
}

await describeNsq('where a group begins', () => {
  for (const memoryQueue of [undefined, 0])
    test(`two members that begin with what is new get nothing of what waits${memoryQueue === 0 ? ' on disk' : ''}, and all that is confirmed once either has joined`, async () => {
      const node = await nsqd(memoryQueue === undefined ? {} : { memoryQueue })
      await waiting(node, 3000)
      const seen: string[] = []
      const join = async (name: string): Promise<void> => {
        const bus = await busOn(node)
        await bus.subscribe('t', { group: 'g', from: 'new' }, ({ body }) => void seen.push(body as string))
        for (let n = 0; n < 50; n++) await bus.publish('t', `${name} ${n}`)
      }
      await Promise.all([join('a'), join('b')])
      await expect.poll(() => new Set(seen).size).toBe(100)
      await sleep(500)
      expect(seen.filter((body) => body.startsWith('old'))).toEqual([])
      await expect.poll(() => channels(node)).toEqual(['g'])
    })

  test('whatever the clocks say', async () => {
    const node = await nsqd()
    await waiting(node, 1)
    const bus = await busOn(node)
    const ahead = vi.spyOn(Date, 'now').mockImplementation(() => Math.round(performance.timeOrigin + performance.now()) + 60_000)
    onTestFinished(() => ahead.mockRestore())
    const seen: unknown[] = []
    await bus.subscribe('t', { group: 'g', from: 'new' }, ({ body }) => void seen.push(body))
    await bus.publish('t', 'new')
    await expect.poll(() => seen).toEqual(['new'])
  })

  test('a group that is there goes on where it stood', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    await (await bus.subscribe('t', { group: 'g', from: 'new' }, () => {})).close()
    await bus.publish('t', 'meanwhile')
    const seen: unknown[] = []
    await bus.subscribe('t', { group: 'g', from: 'new' }, ({ body }) => void seen.push(body))
    await expect.poll(() => seen).toEqual(['meanwhile'])
  })

  test('refused where nobody can tell what waits, where it is held up, and for a time: nothing is taken then', async () => {
    const node = await nsqd()
    await waiting(node, 3)
    const [nobody] = await freePorts(1)
    const seen: unknown[] = []
    const take = ({ body }: { body: unknown }): void => void seen.push(body)
    const blind = await busOn(node, { http: [`127.0.0.1:${nobody}`] })
    await expect(blind.subscribe('t', { group: 'g', from: 'new' }, take)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('nsq.http'),
    })
    const bus = await busOn(node)
    await expect(bus.subscribe('t', { group: 'g', from: new Date() }, take)).rejects.toMatchObject({ code: 'unsupported' })
    await node.ask('/topic/pause?topic=t', '')
    await expect(bus.subscribe('t', { group: 'g', from: 'new' }, take)).rejects.toMatchObject({ code: 'conflict' })
    await node.ask('/topic/unpause?topic=t', '')
    await blind.subscribe('t', { group: 'g' }, take)
    await expect.poll(() => seen.length).toBe(3)
  })
})
