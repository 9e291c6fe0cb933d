import type { Message } from '../../deliver/message.ts'
import { topic } from '../../topic/definition.ts'
import { type Case, equal, ok } from './case.ts'

/** Messages of producers that know nothing of us: no header, no envelope, no id. */
export const foreign: readonly Case[] = [
  {
    rule: 'R12',
    name: 'a message of a foreign producer is delivered like any other, and keeps its id through a retry',
    async run(h) {
      const bus = await h.bus()
      const runs: Message[] = []
      await bus.subscribe(h.topic, { group: 'g' }, (message) => {
        if (runs.push(message) === 1) throw new Error('once')
      })
      await h.foreign(h.engineOf(bus), h.topic, '{"from":"elsewhere"}')
      await h.until('it is handled again', () => runs.length === 2)
      for (const message of runs) {
        equal([message.topic, message.body, message.headers], [h.topic, { from: 'elsewhere' }, {}], 'message')
        equal(Buffer.from(message.bytes).toString(), '{"from":"elsewhere"}', 'bytes')
      }
      ok(runs[0]!.id !== '' && runs[0]!.id === runs[1]!.id, `ids: ${runs.map(({ id }) => id).join(' and ')}`)
    },
  },
  {
    rule: 'R12',
    name: 'a foreign message has the parameters that its name gives, and the filter sees it',
    skip: ({ filter }) => (filter === 'broker' ? undefined : 'a message on this wire carries no name of its own'),
    async run(h) {
      const bus = await h.bus()
      const docs = topic(`${h.topic}.{space}.{event}`)
      const seen: unknown[] = []
      await bus.subscribe(docs.where({ event: 'added' }), { group: 'g' }, (message) => void seen.push([message.params, message.body]))
      const engine = h.engineOf(bus)
      await h.foreign(engine, `${h.topic}.7.removed`, '1', docs.storage)
      await h.foreign(engine, `${h.topic}.8.added`, '2', docs.storage)
      await h.until('one is handled', () => seen.length > 0)
      await h.quiet()
      equal(seen, [[{ space: '8', event: 'added' }, 2]], 'seen')
    },
  },
  {
    rule: 'R12',
    name: 'foreign bytes that are no JSON become a dead letter that keeps them',
    async run(h) {
      const bus = await h.bus()
      await h.subscribe(bus, h.topic, { group: 'g' })
      await h.foreign(h.engineOf(bus), h.topic, 'no json')
      const desk = bus.admin.deadLetters(h.topic, 'g')
      await h.until('there is a dead letter', async () => (await desk.count()) === 1)
      equal(Buffer.from((await desk.list())[0]!.bytes).toString(), 'no json', 'bytes')
    },
  },
]
