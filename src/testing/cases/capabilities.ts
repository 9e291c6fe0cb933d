import type { Ledger } from '../../ledger/ledger.ts'
import type { Harness } from '../harness.ts'
import { override } from '../models/wrapping.ts'
import { type Case, equal, ok } from './case.ts'

/** Every declared value has a case that shows it, here or under the rule that needs it; every absence one for the refusal. */
export const capabilities: readonly Case[] = [
  {
    rule: 'R8',
    name: 'what the engine declares is well formed, and its facets are there exactly where it says so',
    unstored: true,
    async run(h) {
      const engine = await h.engine()
      const c = engine.capabilities
      ok(engine.name !== '', 'it has no name')
      for (const [name, value, among] of [
        ['durability', c.durability, ['none', 'memory', 'page-cache', 'disk']],
        ['ordering', c.ordering, ['group', 'process', 'none']],
        ['settle', c.settle, ['message', 'position']],
        ['filter', c.filter, ['broker', 'client']],
        ['ledger', c.ledger, ['native', 'given', 'none']],
      ] as const)
        ok((among as readonly string[]).includes(value), `${name} is ${value}`)
      for (const name of ['dedupeWindowMs', 'delayMaxMs', 'maxMessageBytes'] as const) ok(c[name] >= 0, `${name} is ${c[name]}`)
      ok(c.lease.maxMs >= 0 && c.maxMessageBytes > 0, `lease.maxMs is ${c.lease.maxMs}, maxMessageBytes ${c.maxMessageBytes}`)
      equal(engine.ledger !== undefined, c.ledger === 'native', 'a ledger of its own')
    },
  },
  {
    rule: 'R1',
    name: 'a delay that the engine cannot keep waits in the ledger, and the engine does not see it before it is due',
    skip: ({ delayMaxMs }) => (delayMaxMs > 86_400_000 * 365 ? 'the engine keeps any delay' : undefined),
    async run(h) {
      const bus = await h.bus()
      const ledger = ledgerOf(h, bus)
      await h.subscribe(bus, h.topic, { group: 'g' })
      const { id, position } = await bus.publish(h.topic, {}, { delay: h.engineOf(bus).capabilities.delayMaxMs + 60_000 })
      equal(position, undefined, 'position')
      const kept = (await ledger.list('schedules', '', { limit: 1000 })).filter(({ key }) => key.endsWith(id))
      equal(kept.length, 1, 'records in the ledger')
      await ledger.write(kept.map(({ key }) => ({ space: 'schedules', key, value: undefined })))
      await h.quiet()
      equal(h.history.count('deliver'), 0, 'runs')
    },
  },
  {
    rule: 'R6',
    name: 'unconfirmed messages of one key keep their order',
    skip: ({ orderedPipelining, ordering }) =>
      orderedPipelining && ordering !== 'none' ? undefined : 'the engine does not declare ordered pipelining',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine, { order: 'key', orderScope: engine.capabilities.ordering === 'group' ? 'group' : 'process' })
      seat.grant(1000)
      const texts = Array.from({ length: 200 }, (_, i) => `${i}`)
      await Promise.all(texts.map((text) => h.send(engine, [text], { key: 'k' })))
      await h.until('all are delivered', () => seat.deliveries.length >= 200)
      equal(seat.texts, texts, 'order')
    },
  },
  {
    rule: 'R6',
    name: 'without ordered pipelining one message of a key is unconfirmed at a time, and other keys do not wait',
    skip: ({ orderedPipelining }) => (orderedPipelining ? 'the engine declares ordered pipelining' : undefined),
    async run(h) {
      const flying = new Map<string, number>()
      let mostOfKey = 0
      let mostKeys = 0
      const bus = await h.bus({}, (engine) =>
        override(engine, {
          async publish(batch, signal) {
            for (const { key } of batch) flying.set(key!, (flying.get(key!) ?? 0) + 1)
            mostOfKey = Math.max(mostOfKey, ...flying.values())
            mostKeys = Math.max(mostKeys, [...flying.values()].filter((count) => count > 0).length)
            await h.quiet(2)
            const outcomes = await engine.publish(batch, signal)
            for (const { key } of batch) flying.set(key!, flying.get(key!)! - 1)
            return outcomes
          },
        }),
      )
      await Promise.all(Array.from({ length: 40 }, (_, i) => bus.publish(h.topic, i, { key: `k${i % 4}` })))
      equal([mostOfKey, mostKeys], [1, 4], 'unconfirmed at once, of one key and of different keys')
    },
  },
  {
    rule: 'R1',
    name: 'what was confirmed outlives a connection that ends without a goodbye',
    skip: (_capabilities, _engine, subject) => (subject.crash ? undefined : 'a connection cannot be crashed here'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      await (await h.subscribe(b, h.topic, { group: 'g' })).close()
      for (let i = 0; i < 20; i++) await h.publish(a, h.topic, { i })
      await h.subject.crash!(h.engineOf(a))
      await h.subscribe(b, h.topic, { group: 'g' })
      await h.until('all are handled', () => h.history.acknowledged('g').size === 20)
    },
  },
  {
    rule: 'R8',
    name: 'while the broker is away health says so, and says when it is back',
    skip: (_capabilities, _engine, subject) => (subject.restart ? undefined : 'this broker cannot be restarted here'),
    async run(h) {
      const bus = await h.bus()
      ok((await bus.health()).ok, 'it is not well to begin with')
      const told: boolean[] = []
      h.engineOf(bus).onHealth((health) => void told.push(health.ok))
      await h.subject.restart!()
      await h.until('loss and return are told', () => told.includes(false) && told.at(-1) === true)
      ok((await bus.health()).ok, 'the bus does not know that it is back')
      await bus.publish(h.topic, {})
    },
  },
  {
    rule: 'R10',
    name: 'the ledger keeps records: in key order, in pages, with their bytes, and tells what changes',
    async run(h) {
      const bus = await h.bus()
      const ledger = ledgerOf(h, bus)
      const key = (i: number): string => `${h.topic}/${String(i).padStart(3, '0')}`
      const heard: string[] = []
      const stop = ledger.watch('blobs', `${h.topic}/`, (changed) => void heard.push(changed))
      const bytes = new Uint8Array([0, 255, 128, 7])
      await ledger.write([3, 1, 2, 0].map((i) => ({ space: 'blobs', key: key(i), value: new Uint8Array([...bytes, i]) })))
      await ledger.write([{ space: 'attempts', key: key(9), value: bytes }])
      const [found, missing] = await ledger.read('blobs', [key(2), key(8)])
      equal([...found!], [...bytes, 2], 'bytes')
      equal(missing, undefined, 'a record that is not there')
      const first = await ledger.list('blobs', `${h.topic}/`, { limit: 3 })
      const rest = await ledger.list('blobs', `${h.topic}/`, { limit: 3, after: first.at(-1)!.key })
      equal(
        [...first, ...rest].map((entry) => entry.key),
        [0, 1, 2, 3].map(key),
        'pages',
      )
      await ledger.write([{ space: 'blobs', key: key(1), value: undefined }])
      equal(await ledger.count('blobs', `${h.topic}/`), 3, 'left after one was deleted')
      await h.until('every change is told', () => [0, 1, 2, 3].every((i) => heard.includes(key(i))))
      stop()
      ok(!heard.includes(key(9)), 'a change of another space is told')
      await ledger.write([
        ...[0, 2, 3].map((i) => ({ space: 'blobs' as const, key: key(i), value: undefined })),
        { space: 'attempts', key: key(9), value: undefined },
      ])
    },
  },
]

function ledgerOf(h: Harness, bus: Parameters<Harness['engineOf']>[0]): Ledger {
  return h.subject.ledger ?? h.engineOf(bus).ledger!
}
