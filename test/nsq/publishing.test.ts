import { expect, test } from 'vitest'
import { describeNsq } from '../rig/needs.ts'
import { freePorts } from '../rig/ports.ts'
import { busOn, nsqd } from './support.ts'

await describeNsq('publishing where nsqd cannot be asked what it takes', () => {
  test('of many at once the one that is too large is refused, the others are stored; later ones are refused unsent', async () => {
    const node = await nsqd({ maxMsgSize: 100_000 })
    const [nobody] = await freePorts(1)
    const bus = await busOn(node, { http: [`127.0.0.1:${nobody}`] })
    const large = 'x'.repeat(200_000)
    const outcomes = await bus.publishMany('t', ['a', large, 'b'])
    expect(outcomes.map((one) => (one.ok ? 'stored' : one.error.code))).toEqual(['stored', 'message_too_large', 'stored'])
    const seen: unknown[] = []
    await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.push(body))
    await expect.poll(() => seen.sort()).toEqual(['a', 'b'])
    const refusals = (): number => node.logs().match(/message too big/g)?.length ?? 0
    const before = refusals()
    await expect(bus.publish('t', large)).rejects.toMatchObject({ code: 'message_too_large', message: expect.stringContaining('100000') })
    expect(refusals()).toBe(before)
  })

  test('a command that is too large for it is sent in smaller ones', async () => {
    const node = await nsqd({ maxMsgSize: 100_000, maxBodySize: 250_000 })
    const [nobody] = await freePorts(1)
    const bus = await busOn(node, { http: [`127.0.0.1:${nobody}`] })
    const outcomes = await bus.publishMany(
      't',
      Array.from({ length: 10 }, (_, n) => `${n}${'x'.repeat(50_000)}`),
    )
    expect(outcomes.every(({ ok }) => ok)).toBe(true)
    const seen = new Set<unknown>()
    await bus.subscribe('t', { group: 'g' }, ({ body }) => void seen.add(body))
    await expect.poll(() => seen.size).toBe(10)
  })
})
