import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import type { Delivery } from '../../src/engines/engine.ts'
import { engine, joinGroup, message, sleep, source, temporary, text } from './support.ts'

const keyed = { order: 'key', orderScope: 'group' } as const

test('a key is in one member’s hands at a time, and later messages of it wait', async () => {
  const bus = await engine({ dir: temporary() })
  await bus.publish([
    message('a', 'x1', { key: 'x' }),
    message('a', 'y1', { key: 'y' }),
    message('a', 'x2', { key: 'x' }),
    message('a', 'free'),
  ])
  const one = await joinGroup(bus, 'g', [source('a')], keyed, 1)
  await one.until(1)
  const two = await joinGroup(bus, 'g', [source('a')], keyed)
  await two.until(2)
  await sleep(50)
  expect([one.texts, two.texts]).toEqual([['x1'], ['y1', 'free']])
  // Once the key is free, whoever has credit gets what waited.
  await one.settle('ack', one.all)
  await two.until(3)
  expect(two.texts[2]).toBe('x2')
})

test('thousands of topics that share lanes: a claim and an acknowledgement cost as much as with one', async () => {
  const bus = await engine()
  const names = Array.from({ length: 2000 }, (_, i) => `a.${i}`)
  await bus.publish(names.map((name, i) => message(name, name, { key: `k${i % 100}` })))
  const hand = await joinGroup(
    bus,
    'g',
    names.map((name) => source(name, { lanes: 'a' })),
    keyed,
    0,
  )
  hand.onDeliver = (batch) => {
    void hand.settle('ack', batch).then(() => hand.subscription.grant(batch.length, 1e6))
  }
  hand.subscription.grant(64, 1e8)
  // 0.1 s; 20 s when each of them woke all of them.
  await hand.until(names.length, 5000)
})

test('a released message comes back before the later ones of its key, even after a delay', async () => {
  const bus = await engine()
  await bus.publish([message('a', 'x1', { key: 'x' }), message('a', 'x2', { key: 'x' }), message('a', 'y1', { key: 'y' })])
  const one = await joinGroup(bus, 'g', [source('a')], keyed, 1)
  await one.until(1)
  await one.settle('release', one.all, 150)
  const two = await joinGroup(bus, 'g', [source('a')], keyed, 0)
  two.subscription.grant(10, 1e6)
  await two.until(1)
  await sleep(30)
  expect(two.texts).toEqual(['y1'])
  await two.until(3)
  expect(two.texts).toEqual(['y1', 'x1', 'x2'])
})

test('order topic: one member has all, the others none', async () => {
  const bus = await engine()
  const sources = [source('a')]
  const one = await joinGroup(bus, 'g', sources, { order: 'topic' }, 2)
  const two = await joinGroup(bus, 'g', sources, { order: 'topic' }, 10)
  await two.subscription.stop()
  await bus.publish(['1', '2', '3'].map((body) => message('a', body)))
  await one.until(2)
  const three = await joinGroup(bus, 'g', sources, { order: 'topic' }, 10)
  await sleep(50)
  expect(three.all.length).toBe(0)
  await one.settle('ack', one.all.slice(0, 1))
  await sleep(50)
  expect(three.all.length).toBe(0)
  await one.settle('ack', one.all.slice(1))
  await three.until(1)
  expect(three.texts).toEqual(['3'])
})

test('sources with the same lanes share keys over topics', async () => {
  const bus = await engine()
  await bus.publish([message('a', 'main', { key: 'x' }), message('a.private', 'replay', { key: 'x' })])
  const sources = [source('a'), source('a.private', { lanes: 'a' })]
  const one = await joinGroup(bus, 'g', [sources[0]!], keyed, 1)
  await one.until(1)
  const two = await joinGroup(bus, 'g', [sources[1]!], keyed)
  await sleep(60)
  expect(two.all.length).toBe(0)
  await one.settle('ack', one.all)
  await two.until(1)
  // One member may have the key in both topics at once: its own lanes keep the order.
  await two.settle('ack', two.all)
  await one.subscription.close()
  await two.subscription.close()
  const three = await joinGroup(bus, 'g', sources, keyed)
  await bus.publish([message('a', 'm2', { key: 'z' }), message('a.private', 'r2', { key: 'z' })])
  await three.until(2)
})

test('a hot key that is taken does not let the group run on for ever', async () => {
  const bus = await engine()
  await bus.publish(Array.from({ length: 3000 }, (_, i) => message('a', String(i), { key: 'hot' })))
  await bus.publish([message('a', 'cold', { key: 'cold' })])
  const one = await joinGroup(bus, 'g', [source('a')], keyed, 1)
  await one.until(1)
  const two = await joinGroup(bus, 'g', [source('a')], keyed)
  await sleep(100)
  expect(two.all.length).toBe(0)
  expect((await bus.admin.groups('a'))[0]).toMatchObject({ waiting: 1000, inHand: 1, lag: 3001 })
  await one.settle('ack', one.all)
  two.subscription.grant(5000, 1e8)
  await two.until(3000)
  expect(two.texts.slice(0, 2999)).toEqual(Array.from({ length: 2999 }, (_, i) => String(i + 1)))
})

test('two engines on one store: each key in order and never twice at once', async () => {
  const dir = temporary()
  const buses = [await engine({ dir }), await engine({ dir })]
  const keys = 20
  const count = 2000
  const holders = new Map<string, number>()
  const seen = new Map<string, number[]>()
  let finished = 0
  const hands = []
  for (const [n, bus] of buses.entries()) {
    const hand = await joinGroup(bus, 'g', [source('a')], keyed, 0)
    const inHand = new Map<string, number>()
    hand.onDeliver = async (batch: readonly Delivery[]) => {
      for (const delivery of batch) {
        const key = delivery.key!
        const holder = holders.get(key)
        if (holder !== undefined && holder !== n) throw new Error(`key ${key} is in two hands`)
        holders.set(key, n)
        inHand.set(key, (inHand.get(key) ?? 0) + 1)
        const list = seen.get(key)
        if (list) list.push(Number(text(delivery)))
        else seen.set(key, [Number(text(delivery))])
      }
      await sleep(Math.random() * 3)
      for (const delivery of batch) {
        const left = inHand.get(delivery.key!)! - 1
        inHand.set(delivery.key!, left)
        if (left === 0) holders.delete(delivery.key!)
      }
      const results = await hand.settle('ack', batch)
      finished += results.filter((result) => result === 'confirmed').length
      hand.subscription.grant(batch.length, 1e6)
    }
    hand.subscription.grant(16, 1e6)
    hands.push(hand)
  }
  for (let i = 0; i < count; ) {
    const batch = []
    for (let j = 0; j < 37 && i < count; j++, i++) batch.push(message('a', String(i), { key: `k${i % keys}` }))
    await buses[Math.floor(Math.random() * 2)]!.publish(batch)
  }
  const end = Date.now() + 15_000
  while (finished < count && Date.now() < end) await sleep(20)
  expect(finished).toBe(count)
  for (const list of seen.values()) expect(list).toEqual([...list].sort((a, b) => a - b))
  // One of them may be quicker, but both had work.
  expect(hands.every(({ all }) => all.length > 0)).toBe(true)
})

test('a fence that was lost with the power is not given again', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const hand = await joinGroup(bus, 'g', [source('a')], keyed)
  await bus.publish([message('a', '1')])
  await hand.until(1)
  // What a power failure leaves: the state before the claim, which nobody had waited for.
  const raw = new DatabaseSync(join(dir, 'bus.db'), { timeout: 5000 })
  raw.exec('UPDATE grp SET fence=fence-10')
  raw.close()
  await sleep(20)
  await bus.publish([message('a', '2')])
  await hand.until(2)
  expect(hand.all[1]!.fence).toBeGreaterThan(hand.all[0]!.fence)
})

test('the fence grows over all sources that share lanes, and past a group that was deleted', async () => {
  const bus = await engine()
  const sources = [source('a'), source('replays', { lanes: 'a' })]
  const first = await joinGroup(bus, 'g', sources, keyed, 1)
  for (const body of ['1', '2', '3']) await bus.publish([message('a', body, { key: 'k' })])
  for (let i = 1; i <= 3; i++) {
    await first.until(i)
    await first.settle('ack', [first.all[i - 1]!])
    first.subscription.grant(1, 1e6)
  }
  await bus.publish([message('replays', 'again', { key: 'k' })])
  await first.until(4)
  const fences = first.all.map(({ fence }) => fence)
  expect(fences).toEqual([...new Set(fences)].sort((x, y) => x - y))
  await first.settle('ack', [first.all[3]!])
  await first.subscription.close()
  await bus.admin.deleteGroup('a', 'g')
  await bus.admin.deleteGroup('replays', 'g')
  const second = await joinGroup(bus, 'g', sources, keyed)
  await second.until(1)
  expect(second.all[0]!.fence).toBeGreaterThan(fences.at(-1)!)
})
