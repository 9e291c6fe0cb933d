import { inOrder, nothingChanged, nothingLost, oneAtATime, report } from '../checkers.ts'
import { Random } from '../random.ts'
import { type Case, codeOf, ok } from './case.ts'

const unordered = (capabilities: { ordering: string }): string | undefined =>
  capabilities.ordering === 'group' ? undefined : 'the engine does not keep order across members'

export const order: readonly Case[] = [
  {
    rule: 'R6',
    name: 'one member keeps the order of a key through retries, and other keys pass',
    async run(h) {
      const bus = await h.bus()
      const failed = new Set<string>()
      await h.subscribe(bus, h.topic, { group: 'g', order: 'key', orderScope: 'process', concurrency: 8 }, async (message) => {
        await h.quiet(message.body.i % 3)
        if (message.body.i % 4 === 1 && !failed.has(message.id)) {
          failed.add(message.id)
          throw new Error('once')
        }
      })
      for (let i = 0; i < 60; i++) await h.publish(bus, h.topic, { i }, { key: `k${i % 5}` })
      await h.until('all are handled', () => h.history.acknowledged('g').size === 60)
      report([...inOrder(h.history, ['g']), ...oneAtATime(h.history), ...nothingLost(h.history, ['g'])])
    },
  },
  {
    rule: 'R6',
    name: 'a failing message holds its own lane and no other',
    async run(h) {
      const bus = await h.bus()
      const done: string[] = []
      const passed = (): number => done.filter((body) => body.startsWith('b') && body !== 'bad').length
      await bus.subscribe(
        h.topic,
        {
          group: 'g',
          order: 'key',
          orderScope: 'process',
          concurrency: 1,
          retry: { attempts: 40, initial: 300, factor: 1, jitter: 'none' },
        },
        (message) => {
          // Until the others have passed, however long a busy broker takes with them.
          if (message.body === 'bad' && passed() < 5) throw new Error('broken')
          done.push(message.body)
        },
      )
      await bus.publish(h.topic, 'bad', { key: 'a' })
      await bus.publish(h.topic, 'a2', { key: 'a' })
      for (let i = 0; i < 5; i++) await bus.publish(h.topic, `b${i}`, { key: 'b' })
      await h.until('all are handled', () => done.length === 7)
      ok(done.indexOf('bad') === 5 && done.indexOf('a2') === 6, `order: ${done.join(' ')}`)
    },
  },
  {
    rule: 'R6',
    name: 'members that share a group keep the order of a key between them, with retries, and as they come and go',
    skip: unordered,
    async run(h, seed) {
      const random = new Random(seed)
      const publisher = await h.bus()
      const failed = new Set<string>()
      const join = async (member: string) => {
        const bus = await h.bus()
        await h.subscribe(
          bus,
          h.topic,
          { group: 'g', order: 'key', concurrency: 3 },
          async (message) => {
            const own = random.of(message.body.i)
            await h.quiet(own.below(4))
            if (!failed.has(message.id) && own.chance(0.1)) {
              failed.add(message.id)
              throw new Error('once')
            }
          },
          member,
        )
        return bus
      }
      const first = await join('a')
      await join('b')
      const total = 240
      for (let i = 0; i < total; i++) {
        await h.publish(publisher, h.topic, { i }, { key: `k${random.of('key', i).below(7)}` })
        if (i === 80) await join('c')
        if (i === 140) await first.close()
      }
      await h.until('all are handled', () => h.history.acknowledged('g').size === total, 3)
      report([...inOrder(h.history, ['g']), ...oneAtATime(h.history), ...nothingLost(h.history, ['g']), ...nothingChanged(h.history)], seed)
    },
  },
  {
    rule: 'R6',
    name: "order 'topic' handles one message at a time",
    skip: unordered,
    async run(h) {
      const bus = await h.bus()
      let at = 0
      let most = 0
      const seen: number[] = []
      // An engine of several partitions may refuse this one, by its type.
      if (
        (await codeOf(async () => (await bus.subscribe(h.topic, { group: 'probe', order: 'topic' }, () => {})).close())) === 'unsupported'
      )
        return
      await bus.subscribe(h.topic, { group: 'g', order: 'topic', concurrency: 5 }, async (message) => {
        most = Math.max(most, ++at)
        await h.quiet(2)
        at--
        seen.push(message.body)
      })
      for (let i = 0; i < 20; i++) await bus.publish(h.topic, i, { key: `k${i}` })
      await h.until('all are handled', () => seen.length === 20)
      ok(most === 1 && seen.every((n, i) => n === i), `at once ${most}, order ${seen.join(' ')}`)
    },
  },
]
