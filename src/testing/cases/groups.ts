import { nothingChanged, nothingLost, notRepeated, report } from '../checkers.ts'
import { type Case, codeOf, equal, ok } from './case.ts'

export const groups: readonly Case[] = [
  {
    rule: 'R3',
    name: 'every group gets every message; members of a group share them',
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      await h.subscribe(a, h.topic, { group: 'one', concurrency: 2 }, undefined, 'a')
      await h.subscribe(b, h.topic, { group: 'one', concurrency: 2 }, undefined, 'b')
      await h.subscribe(b, h.topic, { group: 'two' }, undefined, 'c')
      for (let i = 0; i < 60; i++) await h.publish(a, h.topic, { i })
      await h.until('both groups have all', () => h.history.acknowledged('one').size === 60 && h.history.acknowledged('two').size === 60)
      await h.quiet()
      report([...nothingLost(h.history, ['one', 'two']), ...nothingChanged(h.history), ...notRepeated(h.history)])
    },
  },
  {
    rule: 'R3',
    name: 'a group that begins late gets what is stored; from: new does not',
    skip: (capabilities) => (capabilities.history ? undefined : 'the engine keeps no history'),
    async run(h) {
      const bus = await h.bus()
      for (let i = 0; i < 20; i++) await h.publish(bus, h.topic, { i })
      await h.subscribe(bus, h.topic, { group: 'late' })
      await h.subscribe(bus, h.topic, { group: 'new', from: 'new' })
      await h.until('the late group has all', () => h.history.acknowledged('late').size === 20)
      await h.publish(bus, h.topic, { i: 20 })
      await h.until('both have the newest', () => h.history.acknowledged('late').size === 21 && h.history.acknowledged('new').size === 1)
    },
  },
  {
    rule: 'R3',
    name: 'a group resumes where it stood after close, without repeating what it had acknowledged',
    async run(h) {
      const bus = await h.bus()
      const first = await h.subscribe(bus, h.topic, { group: 'g' })
      for (let i = 0; i < 15; i++) await h.publish(bus, h.topic, { i })
      await h.until('15 are handled', () => h.history.acknowledged('g').size === 15)
      await first.close()
      for (let i = 0; i < 15; i++) await h.publish(bus, h.topic, { i })
      await bus.close()
      const again = await h.bus()
      await h.subscribe(again, h.topic, { group: 'g' })
      await h.until('30 are handled', () => h.history.acknowledged('g').size === 30)
      await h.quiet()
      report([...nothingLost(h.history, ['g']), ...notRepeated(h.history)])
    },
  },
  {
    rule: 'R3',
    name: 'a member with another filter is refused',
    skip: (capabilities) => (capabilities.filter === 'broker' ? undefined : 'the engine does not filter'),
    async run(h) {
      const bus = await h.bus()
      const { topic } = await import('../../topic/definition.ts')
      const docs = topic(`${h.topic}.{space}.{event}`)
      await h.subscribe(bus, docs.where({ event: 'added' }), { group: 'g' })
      equal(await codeOf(() => h.subscribe(bus, docs.where({ event: 'removed' }), { group: 'g' })), 'filter_conflict', 'code')
    },
  },
  {
    rule: 'R3',
    name: 'a definition is one storage; parameters filter and come back typed',
    async run(h) {
      const bus = await h.bus()
      const { topic } = await import('../../topic/definition.ts')
      const docs = topic(`${h.topic}.{space}.{event}`)
      const seen: string[] = []
      await bus.subscribe(docs.where({ event: 'added' }), { group: 'g' }, (message) => void seen.push(message.params.space))
      for (const event of ['added', 'removed', 'added']) await bus.publish(docs.with({ space: event === 'added' ? 'a1' : 'r1', event }), {})
      await h.until('two are handled', () => seen.length === 2)
      await h.quiet()
      equal(seen, ['a1', 'a1'], 'spaces')
    },
  },
  {
    rule: 'R8',
    name: 'a live subscription gets what comes from now on, in every process',
    unstored: true,
    skip: (_, engine) => (engine.live ? undefined : 'the engine has no live subscriptions'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      await a.publish(h.topic, { early: true })
      const seen = { a: 0, b: 0 }
      await a.subscribe(h.topic, () => void seen.a++)
      await b.subscribe(h.topic, () => void seen.b++)
      for (let i = 0; i < 5; i++) await a.publish(h.topic, { i })
      await h.until('both have five', () => seen.a === 5 && seen.b === 5)
      equal(seen, { a: 5, b: 5 }, 'seen')
    },
  },
  {
    rule: 'R8',
    name: 'what an engine lacks is refused with a typed error',
    unstored: true,
    async run(h) {
      const bus = await h.bus()
      const engine = h.engineOf(bus)
      if (!engine.live) equal(await codeOf(() => bus.subscribe(h.topic, () => {})), 'unsupported', 'live')
      if (!engine.requests) equal(await codeOf(() => bus.request(h.topic, 1)), 'unsupported', 'request')
      if (!engine.kv) equal(await codeOf(() => bus.kv('b')), 'unsupported', 'kv')
      if (!engine.capabilities.history) equal(await codeOf(() => bus.admin.browse(h.topic)), 'unsupported', 'browse')
      if (engine.capabilities.ordering !== 'group')
        equal(await codeOf(() => bus.subscribe(h.topic, { group: 'g', order: 'key' }, () => {})), 'unsupported', 'order')
    },
  },
  {
    rule: 'R3',
    name: 'lag counts what is not settled, and pause stops a group until resume',
    async run(h) {
      const bus = await h.bus()
      const work = await h.subscribe(bus, h.topic, { group: 'g' })
      await bus.admin.pause(h.topic, 'g')
      await h.until('it is paused', () => work.status().state === 'paused')
      for (let i = 0; i < 7; i++) await h.publish(bus, h.topic, { i })
      await h.quiet()
      equal(h.history.acknowledged('g').size, 0, 'handled while paused')
      equal(await bus.admin.lag(h.topic, 'g'), 7, 'lag')
      await bus.admin.resume(h.topic, 'g')
      await h.until('all are handled', () => h.history.acknowledged('g').size === 7)
      await h.until('no lag is left', async () => (await bus.admin.lag(h.topic, 'g')) === 0)
      ok(work.status().state === 'running', 'it does not run again')
    },
  },
]
