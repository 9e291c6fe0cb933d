import { type Case, codeOf, equal, ok } from './case.ts'

/** What `Engine.admin` owes. */
export const contractAdmin: readonly Case[] = [
  {
    rule: 'R3',
    name: 'engine: a declared topic is listed and announced; what is stored is counted; a deleted one is gone',
    async run(h) {
      const engine = await h.engine()
      const seen: string[] = []
      const stop = engine.admin.watchTopics((storage) => void seen.push(storage))
      await engine.admin.declare(h.topic)
      await engine.admin.declare(h.topic)
      await h.until('it is announced', () => seen.includes(h.topic))
      stop()
      await h.send(engine, ['one', 'three'])
      const info = (await engine.admin.topics()).find(({ storage }) => storage === h.topic)
      equal([info?.messages, info?.scheduled], [2, 0], 'messages, scheduled')
      // A broker may count what it stores beside the bodies.
      ok(info!.bytes >= 8, `${info!.bytes} bytes are counted for bodies of 8`)
      const late: string[] = []
      engine.admin.watchTopics((storage) => void late.push(storage))()
      const again = engine.admin.watchTopics((storage) => void late.push(storage))
      await h.until('one that comes later is told what exists', () => late.includes(h.topic))
      again()
      await engine.admin.deleteTopic(h.topic)
      ok(!(await engine.admin.topics()).some(({ storage }) => storage === h.topic), 'it is still listed')
    },
  },
  {
    rule: 'R3',
    name: 'engine: groups tell their lag, what is in hand and their members; one with members is neither moved nor deleted, nor is its topic',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(2)
      await h.send(engine, ['1', '2', '3', '4', '5'], { key: 'k' })
      await h.until('two are delivered', () => seat.deliveries.length === 2)
      const group = async () => (await engine.admin.groups(h.topic)).find((info) => info.group === 'g')
      await h.until('five lag', async () => (await group())?.lag === 5)
      const before = await group()
      ok(before!.members === 1 && before!.inHand >= 2, `members ${before!.members}, in hand ${before!.inHand}`)
      ok(before!.oldestMs !== undefined && before!.oldestMs >= 0, 'the oldest has no age')
      await seat.ack(...seat.deliveries)
      await h.until('three lag', async () => (await group())?.lag === 3)
      equal(await codeOf(() => engine.admin.reset(h.topic, 'g', 'end')), 'conflict', 'reset with members')
      equal(await codeOf(() => engine.admin.deleteGroup(h.topic, 'g')), 'conflict', 'delete with members')
      equal(await codeOf(() => engine.admin.deleteTopic(h.topic)), 'conflict', 'delete of a topic with members')
      equal((await group())?.lag, 3, 'lag after what was refused')
      await seat.close()
      equal((await group())?.members, 0, 'members after close')
      await engine.admin.reset(h.topic, 'g', 'end')
      equal((await group())?.lag, 0, 'lag at the end')
      equal(await codeOf(() => engine.admin.reset(h.topic, 'nobody', 'end')), 'not_found', 'reset of no group')
      await engine.admin.deleteGroup(h.topic, 'g')
      equal(await group(), undefined, 'a deleted group')
      equal(await codeOf(() => engine.admin.deleteGroup(h.topic, 'g')), 'not_found', 'delete of no group')
    },
  },
  {
    rule: 'R3',
    name: 'engine: purge deletes what is stored, all or up to a position, and says how much',
    async run(h) {
      const engine = await h.engine()
      await (await h.seat(engine)).close() // where only groups keep messages there has to be one
      await h.send(engine, ['1', '2', '3', '4', '5'], { key: 'k' })
      const { history, purgeBefore } = engine.capabilities
      if (purgeBefore) {
        const { messages } = await engine.read(h.topic, 'start', 10)
        equal(await engine.admin.purge(h.topic, messages[2]!.position), 2, 'purged before the third')
        equal(await engine.admin.purge(h.topic), 3, 'purged')
      } else {
        equal(await codeOf(() => engine.admin.purge(h.topic, '1')), 'unsupported', 'purge up to a position')
        equal(await engine.admin.purge(h.topic), 5, 'purged')
      }
      if (history) equal((await engine.read(h.topic, 'start', 10)).messages, [], 'read after the purge')
      equal((await engine.admin.topics()).find(({ storage }) => storage === h.topic)?.messages, 0, 'left')
      const seat = await h.seat(engine)
      seat.grant(10)
      await h.send(engine, ['6'])
      await h.until('a new one is delivered', () => seat.deliveries.length > 0)
      await h.quiet()
      equal(seat.texts, ['6'], 'delivered')
    },
  },
]
