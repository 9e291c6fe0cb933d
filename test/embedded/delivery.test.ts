import { expect, test } from 'vitest'
import { engine, joinGroup, message, sleep, source, temporary, text } from './support.ts'

const all = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => String(from + i))

for (const where of ['memory', 'file'] as const) {
  const open = () => engine({ dir: where === 'file' ? temporary() : undefined })

  test(`${where}: what is published reaches each group once, in order, with everything it carried`, async () => {
    const bus = await open()
    const outcomes = await bus.publish([message('a.b', '0', { key: 'k', headers: { h: 'ü' } }), message('a.b', '1'), message('a.b', '')])
    expect(outcomes.every((outcome) => outcome.ok && !outcome.duplicate)).toBe(true)
    const one = await joinGroup(bus, 'one', [source('a.b')])
    const two = await joinGroup(bus, 'two', [source('a.b')])
    for (const hand of [one, two]) {
      const [first] = await hand.until(3)
      expect(hand.texts).toEqual(['0', '1', ''])
      expect(first).toMatchObject({ storage: 'a.b', name: 'a.b', key: 'k', headers: { h: 'ü' }, redelivered: false })
      expect(await hand.settle('ack', hand.all)).toEqual(['confirmed', 'confirmed', 'confirmed'])
      expect(await hand.settle('ack', hand.all)).toEqual(['lost', 'lost', 'lost'])
    }
    await bus.publish(all(3, 2500).map((body) => message('a.b', body)))
    one.subscription.grant(5000, 1e8)
    await one.until(2500)
    expect(one.texts.slice(3)).toEqual(all(3, 2500))
    expect((await bus.admin.groups('a.b')).map(({ group, lag, inHand }) => [group, lag, inHand])).toEqual([
      ['one', 2497, 2497],
      ['two', 2497, 97],
    ])
  })

  test(`${where}: acknowledgements in any order and mixed with releases settle what they name`, async () => {
    const bus = await open()
    await bus.publish(all(0, 60).map((body) => message('a', body)))
    const hand = await joinGroup(bus, 'g', [source('a')])
    await hand.until(60)
    const shuffled = [...hand.all].sort((a, b) => Number(a.id > b.id) - 0.5 + Math.random() * 0.4)
    const kept = new Set(all(20, 30))
    await hand.settle(
      'ack',
      hand.all.filter((delivery) => !kept.has(text(delivery)) && Number(text(delivery)) < 50),
    )
    await hand.settle(
      'ack',
      shuffled.filter((delivery) => Number(text(delivery)) >= 50),
    )
    expect((await bus.admin.groups('a'))[0]).toMatchObject({ lag: 10, inHand: 10 })
    expect(await hand.settle('release', hand.all.slice(20, 25))).toEqual(Array(5).fill('confirmed'))
    expect(await hand.settle('release', hand.all.slice(25, 30), 150)).toEqual(Array(5).fill('confirmed'))
    await hand.until(65)
    expect(hand.texts.slice(60)).toEqual(all(20, 25))
    const before = Date.now()
    await hand.until(70)
    expect(Date.now() - before).toBeGreaterThan(80)
    expect(hand.all.slice(60).every(({ redelivered }) => redelivered)).toBe(true)
    expect(hand.all[60]!.fence).toBeGreaterThan(hand.all[20]!.fence)
  })

  test(`${where}: a lease that ran out goes to another member, and the old one hears of it`, async () => {
    const bus = await open()
    await bus.publish([message('a', 'x'), message('a', 'y')])
    const slow = await joinGroup(bus, 'g', [source('a')], { leaseMs: 150 })
    await slow.until(2)
    // Nobody is there to take them: they stay the member's own, even past their time.
    await sleep(250)
    expect(await slow.settle('extend', [slow.all[0]!], 60_000)).toEqual(['confirmed'])
    const fast = await joinGroup(bus, 'g', [source('a')])
    await fast.until(1)
    expect(fast.texts).toEqual(['y'])
    expect(fast.all[0]).toMatchObject({ redelivered: true })
    expect(slow.lostOnes.map(text)).toEqual(['y'])
    expect(await slow.settle('ack', slow.all)).toEqual(['confirmed', 'lost'])
    expect(await slow.settle('extend', [slow.all[1]!], 1000)).toEqual(['lost'])
    expect(await fast.settle('ack', fast.all)).toEqual(['confirmed'])
  })

  test(`${where}: credit is kept in messages and bytes, and a large message goes through alone`, async () => {
    const bus = await open()
    await bus.publish([message('a', 'x'.repeat(60)), message('a', 'y'.repeat(60)), message('a', 'z'.repeat(5000)), message('a', '!')])
    const hand = await joinGroup(bus, 'g', [source('a')], {}, 10, 100)
    await hand.until(1)
    await sleep(50)
    expect(hand.all.length).toBe(1)
    await hand.settle('ack', hand.all)
    await hand.until(2)
    await sleep(50)
    expect(hand.all.length).toBe(2)
    hand.subscription.grant(0, 120)
    await sleep(50)
    expect(hand.all.length).toBe(2)
    await hand.settle('ack', [hand.all[1]!])
    await hand.until(3)
    expect(hand.all[2]!.body.byteLength).toBe(5000)
    hand.subscription.grant(0, 5000)
    await hand.until(4)
  })

  test(`${where}: a group has one filter, applied by name`, async () => {
    const bus = await open()
    const names = ['docs.1.added', 'docs.1.removed', 'docs.2.added']
    await bus.publish(names.map((name) => message('docs.*.*', name, { name })))
    const hand = await joinGroup(bus, 'g', [source('docs.*.*', { filter: 'docs.*.added' })])
    await hand.until(2)
    expect(hand.all.map(({ name }) => name)).toEqual(['docs.1.added', 'docs.2.added'])
    await expect(joinGroup(bus, 'g', [source('docs.*.*', { filter: 'docs.1.*' })])).rejects.toMatchObject({
      code: 'filter_conflict',
      message: expect.stringMatching(/docs\.\*\.added.*docs\.1\.\*/),
    })
    await expect(joinGroup(bus, 'g', [source('new.one'), source('docs.*.*')])).rejects.toMatchObject({ code: 'filter_conflict' })
    expect((await bus.admin.groups('docs.*.*'))[0]).toMatchObject({ members: 1, lag: 2, filter: 'docs.*.added' })
    expect((await bus.admin.topics()).map(({ storage }) => storage)).toEqual(['docs.*.*'])
  })

  test(`${where}: stop ends deliveries, close gives back the rest`, async () => {
    const bus = await open()
    await bus.publish(all(0, 5).map((body) => message('a', body)))
    const hand = await joinGroup(bus, 'g', [source('a')], {}, 3)
    await hand.until(3)
    await hand.subscription.stop()
    hand.subscription.grant(10, 1e6)
    await bus.publish([message('a', '5')])
    await sleep(60)
    expect(hand.all.length).toBe(3)
    expect(await hand.settle('ack', [hand.all[1]!])).toEqual(['confirmed'])
    await hand.subscription.close()
    await hand.subscription.close()
    const next = await joinGroup(bus, 'g', [source('a')])
    await next.until(5)
    expect(next.texts).toEqual(['0', '2', '3', '4', '5'])
    expect(next.all.map(({ redelivered }) => redelivered)).toEqual([true, true, false, false, false])
  })

  test(`${where}: where a new group begins`, async () => {
    const bus = await open()
    await bus.publish([message('a', 'old')])
    await sleep(30)
    const timeMs = Date.now()
    await sleep(30)
    await bus.publish([message('a', 'mid')])
    const fresh = await joinGroup(bus, 'new', [source('a', { from: 'new' })])
    const since = await joinGroup(bus, 'since', [source('a', { from: { timeMs } })])
    await bus.publish([message('a', 'young')])
    await since.until(2)
    await fresh.until(1)
    expect([since.texts, fresh.texts]).toEqual([['mid', 'young'], ['young']])
  })
}

test('the same id is stored once, also after the first was purged, and until its time while scheduled', async () => {
  const bus = await engine({ dir: temporary() })
  const first = message('a', 'x', { id: 'same' })
  const [one] = await bus.publish([first])
  const outcomes = await bus.publish([first, message('a', 'y', { id: 'same' }), message('b', 'z', { id: 'same' })])
  expect(outcomes.map((outcome) => outcome.ok && outcome.duplicate)).toEqual([true, true, false])
  expect(outcomes[0]).toMatchObject({ position: (one as { position: string }).position })
  expect(await bus.admin.purge('a')).toBe(1)
  expect((await bus.publish([first]))[0]).toMatchObject({ ok: true, duplicate: true, position: (one as { position: string }).position })
  const later = message('a', 'later', { id: 'later', deliverAt: Date.now() + 150 })
  expect((await bus.publish([later, later])).map((outcome) => outcome.ok && outcome.duplicate)).toEqual([false, true])
  const hand = await joinGroup(bus, 'g', [source('a')])
  await hand.until(1)
  expect((await bus.publish([later]))[0]).toMatchObject({ duplicate: true })
})

test('a scheduled message comes at its time and not before, also after a reopening', async () => {
  const dir = temporary()
  const first = await engine({ dir })
  const deliverAt = Date.now() + 400
  await first.publish([message('a', 'later', { deliverAt }), message('a', 'now')])
  expect((await first.admin.topics())[0]).toMatchObject({ messages: 1, scheduled: 1 })
  await first.close()
  const bus = await engine({ dir })
  const hand = await joinGroup(bus, 'g', [source('a')])
  await hand.until(2)
  expect(Date.now()).toBeGreaterThanOrEqual(deliverAt)
  expect(Date.now()).toBeLessThan(deliverAt + 5000)
  expect(hand.texts).toEqual(['now', 'later'])
})

test('after a reopening a group resumes where it stood', async () => {
  const dir = temporary()
  const first = await engine({ dir })
  await first.publish(all(0, 10).map((body) => message('a', body)))
  const hand = await joinGroup(first, 'g', [source('a')], {}, 6)
  await hand.until(6)
  await hand.settle('ack', hand.all.slice(0, 4))
  await first.close()
  await expect(first.publish([message('a', 'x')])).rejects.toMatchObject({ code: 'closed' })
  await expect(first.admin.topics()).rejects.toMatchObject({ code: 'closed' })
  await hand.subscription.close()
  const bus = await engine({ dir })
  const again = await joinGroup(bus, 'g', [source('a')])
  await again.until(6)
  expect(again.texts).toEqual(all(4, 10))
  expect(again.all.map(({ redelivered }) => redelivered)).toEqual([true, true, false, false, false, false])
})

test('a body above the limit is refused, the rest of its batch stored', async () => {
  const bus = await engine()
  const outcomes = await bus.publish([
    message('a', '1'),
    message('a', new Uint8Array(bus.capabilities.maxMessageBytes + 1)),
    message('a', '2'),
  ])
  expect(outcomes.map((outcome) => outcome.ok || outcome.error.code)).toEqual([true, 'message_too_large', true])
})
