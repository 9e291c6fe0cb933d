import { type Case, codeOf, equal, ok } from './case.ts'

const texts = (count: number): string[] => Array.from({ length: count }, (_, i) => `${i}`)

/** What `Engine.subscribe` owes, without the core in front. */
export const contractDelivering: readonly Case[] = [
  {
    rule: 'R7',
    name: 'engine: nothing is delivered before the first grant, and never more than was granted',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      await h.send(engine, texts(30))
      await h.quiet()
      equal(seat.deliveries.length, 0, 'delivered before a grant')
      let granted = 0
      for (const more of [1, 4, 7]) {
        granted += more
        seat.grant(more)
        await h.until('the grant is used', () => seat.deliveries.length >= granted)
        await h.quiet()
        equal(seat.deliveries.length, granted, 'delivered')
      }
      await seat.ack(...seat.deliveries)
      await h.quiet()
      equal(seat.deliveries.length, granted, 'delivered after an acknowledgement, without a grant')
    },
  },
  {
    rule: 'R7',
    name: 'engine: a grant of bytes holds: no more than one message goes beyond it',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      await h.send(
        engine,
        texts(10).map((text) => text.padEnd(1000, '.')),
      )
      seat.grant(10, 2500)
      await h.until('some are delivered', () => seat.deliveries.length >= 2)
      await h.quiet()
      ok(seat.deliveries.length <= 3, `${seat.deliveries.length} messages of 1000 bytes for a grant of 2500`)
      seat.grant(0, 100_000)
      await h.until('the rest comes with more bytes', () => seat.deliveries.length === 10)
    },
  },
  {
    rule: 'R9',
    name: 'engine: after stop nothing is delivered, whatever was granted, and settling works until close',
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const seat = await h.seat(a)
      seat.grant(1000)
      await h.send(a, texts(3))
      await h.until('three are delivered', () => seat.deliveries.length === 3)
      await seat.stop()
      await h.send(b, ['3', '4', '5'])
      seat.grant(10)
      await h.quiet(300)
      equal(seat.deliveries.length, 3, 'delivered after stop')
      const [first, second] = seat.deliveries
      const rest = [seat.texts[2]!, '3', '4', '5'].sort()
      equal(
        (await seat.ack(first!, second!)).filter((result) => result !== 'confirmed' && result !== 'sent'),
        [],
        'acknowledging after stop',
      )
      await seat.close()
      const next = await h.seat(b)
      next.grant(1000)
      await h.until('the rest goes to the next member', () => rest.every((text) => next.texts.includes(text)))
      if (a.capabilities.settle === 'message') equal(next.texts.sort(), rest, 'delivered to the next member')
    },
  },
  {
    rule: 'R9',
    name: 'engine: close lets go of everything: its members take nothing any more, and what they had goes to others',
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const seat = await h.seat(a)
      seat.grant(1000)
      await h.send(b, texts(4))
      await h.until('four are delivered', () => seat.deliveries.length === 4)
      await a.close()
      await h.send(b, ['4', '5'])
      const next = await h.seat(b)
      next.grant(1000)
      await h.until('all six go to another member', () => new Set(next.texts).size === 6)
      equal(seat.deliveries.length, 4, 'delivered to the member of a closed engine')
    },
  },
  {
    rule: 'R3',
    name: 'engine: each group gets everything, its members share it, and each place is kept when nobody is there',
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const other = await h.seat(b, { group: 'other' })
      const [one, two] = [await h.seat(a), await h.seat(b)]
      for (const seat of [one, two, other]) seat.grant(1000)
      await h.send(a, texts(20))
      await h.until('both groups have all', () => other.deliveries.length === 20 && one.deliveries.length + two.deliveries.length >= 20)
      await h.quiet()
      equal([...one.texts, ...two.texts].sort(), texts(20).sort(), 'shared by the members')
      for (const seat of [one, two, other]) {
        await seat.ack(...seat.deliveries)
        await seat.close()
      }
      await h.send(a, ['20', '21'])
      const again = await h.seat(b)
      again.grant(1000)
      await h.until('the group goes on', () => again.deliveries.length >= 2)
      await h.quiet()
      equal(again.texts.sort(), ['20', '21'], 'after everybody had left')
    },
  },
  {
    rule: 'R6',
    name: 'engine: a key is never delivered past an earlier one that was given back',
    skip: ({ ordering }) => (ordering === 'none' ? 'the engine keeps no order' : undefined),
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine, { order: 'key', orderScope: engine.capabilities.ordering === 'group' ? 'group' : 'process' })
      await h.send(engine, ['a', 'b', 'c'], { key: 'k' })
      seat.grant(1)
      await h.until('the first is delivered', () => seat.deliveries.length === 1)
      await seat.release(seat.deliveries[0]!, 250)
      seat.grant(3)
      await h.until('four deliveries are made', () => seat.deliveries.length >= 4)
      equal(seat.texts, ['a', 'a', 'b', 'c'], 'order')
    },
  },
  {
    rule: 'R6',
    name: 'engine: a key is with one member at a time',
    skip: ({ ordering }) => (ordering === 'group' ? undefined : 'the engine keeps no order across members'),
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const seats = [await h.seat(a, { order: 'key' }), await h.seat(b, { order: 'key' })]
      for (const seat of seats) seat.grant(1000)
      for (let i = 0; i < 40; i++) await h.send(a, [`${i % 8}/${i}`], { key: `k${i % 8}` })
      const all = (): string[] => seats.flatMap((seat) => seat.texts)
      await h.until('all are delivered', () => new Set(all()).size === 40)
      for (let key = 0; key < 8; key++) {
        const hands = seats.map((seat) => seat.deliveries.filter((one) => one.key === `k${key}` && !seat.lostOnes.has(one)).length)
        ok(hands.filter((count) => count > 0).length === 1, `key k${key} is in the hands of two members: ${hands.join(' and ')} messages`)
      }
    },
  },
  {
    rule: 'R6',
    name: 'engine: storages that share lanes share their keys: one is with one member in all of them',
    skip: ({ ordering }) => (ordering === 'group' ? undefined : 'the engine keeps no order across members'),
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const storages = [`${h.topic}.one`, `${h.topic}.two`]
      const sources = storages.map((storage) => ({ storage, filter: undefined, lanes: storages[0]!, from: 'earliest' as const }))
      const seats = [await h.seat(a, { order: 'key', sources }), await h.seat(b, { order: 'key', sources })]
      for (const seat of seats) seat.grant(1000)
      for (let i = 0; i < 40; i++) await h.send(a, [`${i}`], { storage: storages[i % 2]!, name: storages[i % 2]!, key: `k${(i >> 1) % 5}` })
      await h.until('all are delivered', () => new Set(seats.flatMap((seat) => seat.texts)).size === 40)
      for (let key = 0; key < 5; key++) {
        const hands = seats.filter((seat) => seat.deliveries.some((one) => one.key === `k${key}` && !seat.lostOnes.has(one)))
        equal(hands.length, 1, `members that have the key k${key}`)
      }
    },
  },
  {
    rule: 'R3',
    name: 'engine: a group begins where it was told to, and a member takes in one more storage',
    skip: ({ history }) => (history ? undefined : 'the engine keeps no history to begin in'),
    async run(h) {
      const engine = await h.engine()
      await h.send(engine, ['old'])
      await h.quiet(400)
      const timeMs = Date.now() - 200
      await h.send(engine, ['recent'])
      const begun = {
        earliest: await h.seat(engine, { group: 'earliest' }),
        new: await h.seat(engine, { group: 'new', from: 'new' }),
        time: await h.seat(engine, { group: 'time', from: { timeMs } }),
      }
      for (const seat of Object.values(begun)) seat.grant(100)
      await h.send(engine, ['next'])
      await h.until('each has the next one', () => Object.values(begun).every((seat) => seat.texts.includes('next')))
      await h.quiet()
      equal(
        Object.values(begun).map((seat) => seat.texts.sort()),
        [['next', 'old', 'recent'], ['next'], ['next', 'recent']],
        'from the earliest, from now, from a time',
      )
      const more = `${h.topic}.more`
      await h.send(engine, ['more'], { storage: more, name: more })
      await begun.new.add({ storage: more, filter: undefined, lanes: more, from: 'earliest' })
      await h.until('the storage that was added is read', () => begun.new.texts.includes('more'))
      equal(begun.new.deliveries.find((delivery) => delivery.storage === more)?.name, more, 'name')
    },
  },
  {
    rule: 'R6',
    name: 'engine: an order across members that it does not keep is refused as unsupported',
    skip: ({ ordering }) => (ordering === 'group' ? 'the engine keeps order across members' : undefined),
    async run(h) {
      const engine = await h.engine()
      equal(await codeOf(() => h.seat(engine, { order: 'key' })), 'unsupported', "order 'key'")
    },
  },
  {
    rule: 'R3',
    name: 'engine: a filter lets through what matches, and a member with another one is refused',
    skip: ({ filter }) => (filter === 'broker' ? undefined : 'the engine does not filter'),
    async run(h) {
      const engine = await h.engine()
      const storage = `${h.topic}.*`
      const seat = await h.seat(engine, { filter: `${h.topic}.a` }, storage)
      seat.grant(100)
      for (const last of ['a', 'b', 'a', 'c']) await h.send(engine, [last], { storage, name: `${h.topic}.${last}` })
      await h.until('two are delivered', () => seat.deliveries.length >= 2)
      await h.quiet()
      equal(seat.texts, ['a', 'a'], 'delivered')
      equal(await codeOf(() => h.seat(engine, { filter: `${h.topic}.b` }, storage)), 'filter_conflict', 'another filter')
    },
  },
]
