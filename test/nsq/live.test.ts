import { expect, test } from 'vitest'
import { topic } from '../../src/topic/definition.ts'
import { describeNsq } from '../rig/needs.ts'
import { busOn, nsqd } from './support.ts'

await describeNsq('listeners without a group', () => {
  test('hear a name, a definition by a filter, and topics that other processes make later; their channels go with them', async () => {
    const node = await nsqd()
    const [a, b] = [await busOn(node), await busOn(node)]
    const docs = topic('docs.{space}.{event}')
    const heard: Record<string, string[]> = { name: [], filter: [], pattern: [] }
    const listeners = [
      await a.subscribe('docs.plain', ({ topic: name }) => void heard['name']!.push(name)),
      await a.subscribe(docs.where({ event: 'added' }), ({ params }) => void heard['filter']!.push(params.space)),
      await a.subscribe('docs.>', ({ topic: name }) => void heard['pattern']!.push(name)),
    ]
    await b.publish('docs.plain', 1)
    await b.publish(docs.with({ space: '7', event: 'added' }), 2)
    // Found by asking nsqd, once a second: until then nobody reads it.
    await expect
      .poll(async () => {
        await b.publish(docs.with({ space: '8', event: 'removed' }), 3)
        await b.publish('docs.later', 4)
        return [...new Set(heard['pattern'])].sort()
      })
      .toEqual(expect.arrayContaining(['docs.8.removed', 'docs.later']))
    await expect.poll(() => heard['filter']).toEqual(['7'])
    expect(heard['name']).toEqual(['docs.plain'])
    for (const listener of listeners) await listener.close()
    await expect.poll(async () => node.ask('/stats?format=json')).not.toContain('#ephemeral')
  })

  test('hear topics by names that are too long for NSQ, made by another process', async () => {
    const node = await nsqd()
    const [maker, reader] = [await busOn(node), await busOn(node)]
    const long = `docs.${'a-long-name.'.repeat(8)}end`
    await (await maker.subscribe(long, { group: `g-${'long'.repeat(20)}` }, () => {})).close()
    await expect.poll(async () => (await reader.admin.topics()).map(({ storage }) => storage)).toEqual([long])
    await expect.poll(async () => (await reader.admin.groups(long)).map(({ group }) => group)).toEqual([`g-${'long'.repeat(20)}`])
    const heard: string[] = []
    await reader.subscribe('docs.>', { group: 'all' }, ({ topic: name }) => void heard.push(name))
    await maker.publish(long, 1)
    await expect.poll(() => heard).toEqual([long])
    await node.restart()
    const later = await busOn(node)
    expect((await later.admin.topics()).map(({ storage }) => storage)).toEqual([long])
  })

  test('take nothing from groups', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    const [group, live] = [[] as unknown[], [] as unknown[]]
    await bus.subscribe('t', { group: 'g' }, ({ body }) => void group.push(body))
    const listener = await bus.subscribe('t', ({ body }) => void live.push(body))
    for (let n = 0; n < 3; n++) await bus.publish('t', n)
    await expect
      .poll(() => [group, live])
      .toEqual([
        [0, 1, 2],
        [0, 1, 2],
      ])
    await listener.close()
  })
})
