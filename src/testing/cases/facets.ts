import { type Case, codeOf, equal, ok } from './case.ts'

export const facets: readonly Case[] = [
  {
    rule: 'R8',
    name: 'requests are answered by one member of a group, and say when nobody listens or answers',
    unstored: true,
    skip: (_, engine) => (engine.requests ? undefined : 'the engine has no requests'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      equal(await codeOf(() => a.request(h.topic, {}, { timeout: 500 })), 'no_responders', 'without responders')
      const answer = (by: string) => (request: { body: { n: number } }) => {
        if (request.body.n < 0) throw new Error('negative')
        return { n: request.body.n * 2, by }
      }
      await a.respond(h.topic, { group: 'r' }, answer('a'))
      await b.respond(h.topic, { group: 'r' }, answer('b'))
      const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => b.request(h.topic, { n })))
      equal(
        answers.map(({ n }) => n),
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18],
        'answers',
      )
      ok((await codeOf(() => b.request(h.topic, { n: -1 }))) === 'internal', 'a failing responder is not told')
      await a.respond(`${h.topic}.slow`, { group: 'r' }, () => h.quiet(2000))
      equal(await codeOf(() => b.request(`${h.topic}.slow`, {}, { timeout: 100 })), 'timeout', 'a slow responder')
    },
  },
  {
    rule: 'R8',
    name: 'a question to many gets the answer of each group, failures among them, and ends in time',
    unstored: true,
    skip: (_, engine) => (engine.requests ? undefined : 'the engine has no requests'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      const collect = async (options: { timeout?: number; max?: number }): Promise<unknown[]> => {
        const answers: unknown[] = []
        for await (const answer of a.requestMany(h.topic, 7, options)) answers.push(answer.ok ? answer.body : answer.error.code)
        return answers
      }
      if (!h.engineOf(a).requests!.requestMany) {
        equal(await codeOf(() => collect({})), 'unsupported', 'many answers')
        return
      }
      equal(await codeOf(() => collect({ timeout: 300 })), 'no_responders', 'without responders')
      for (const group of ['one', 'two']) for (const bus of [a, b]) await bus.respond(h.topic, { group }, ({ body }) => `${group} ${body}`)
      await b.respond(h.topic, { group: 'three' }, () => {
        throw new Error('broken')
      })
      equal((await collect({ timeout: 400 })).sort(), ['internal', 'one 7', 'two 7'], 'answers')
      equal((await collect({ timeout: 5000, max: 2 })).length, 2, 'at most two')
    },
  },
  {
    rule: 'R8',
    name: 'key-value: put, create, update, delete, keys, history, watch',
    skip: (_, engine) => (engine.kv ? undefined : 'the engine has no key-value store'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      const bucket = h.topic.replaceAll('.', '-')
      const kv = await a.kv(bucket, { history: 3 })
      const seen: string[] = []
      const stop = new AbortController()
      const watching = (async () => {
        for await (const entry of (await b.kv(bucket, { history: 3 })).watch('user.*', { signal: stop.signal }))
          seen.push(`${entry.operation} ${entry.key} ${JSON.stringify(entry.value)}`)
      })()
      await kv.create('user.1', { n: 1 })
      equal(await codeOf(() => kv.create('user.1', { n: 2 })), 'conflict', 'create of an existing key')
      const entry = await kv.entry('user.1')
      const revision = await kv.update('user.1', { n: 2 }, entry!.revision)
      equal(await codeOf(() => kv.update('user.1', { n: 9 }, entry!.revision)), 'conflict', 'update at an old revision')
      ok(revision > entry!.revision, 'the revision did not grow')
      await kv.put('other.1', 'x')
      await kv.put('user.2', 'y')
      equal((await kv.keys('user.*')).sort(), ['user.1', 'user.2'], 'keys')
      for (const n of [3, 4]) await kv.put('user.1', { n })
      equal(
        (await kv.history('user.1')).map((old) => old.value.n),
        [2, 3, 4],
        'history',
      )
      // A watch that begins after the deletion owes nothing of it.
      await h.until('the watch has the newest value', () => seen.includes('put user.1 {"n":4}'))
      await kv.delete('user.1')
      equal(await kv.get('user.1'), undefined, 'a deleted key')
      await h.until('the watch has the deletion', () => seen.includes('delete user.1 undefined'))
      ok(!seen.some((line) => line.includes('other')), 'the watch shows other keys')
      stop.abort()
      await watching
    },
  },
  {
    rule: 'R3',
    name: 'browse pages through what is stored; reset moves a group; purge empties a topic',
    skip: (capabilities) => (capabilities.history ? undefined : 'the engine keeps no history'),
    async run(h) {
      const bus = await h.bus()
      for (let n = 0; n < 25; n++) await bus.publish(h.topic, { n })
      const first = await bus.admin.browse(h.topic, { limit: 10 })
      const second = await bus.admin.browse(h.topic, { limit: 100, from: first.next })
      const all = [...first.messages, ...second.messages].map((stored) => (stored.body as { n: number }).n).sort((x, y) => x - y)
      equal(
        all,
        Array.from({ length: 25 }, (_, n) => n),
        'browsed',
      )
      const work = await h.subscribe(bus, h.topic, { group: 'g' })
      await h.until('25 runs', () => h.history.count('deliver') === 25)
      equal(await codeOf(() => bus.admin.reset(h.topic, 'g', { to: 'earliest' })), 'conflict', 'reset with members')
      await work.close()
      await bus.admin.reset(h.topic, 'g', { to: 'earliest' })
      const again = await h.subscribe(bus, h.topic, { group: 'g' })
      await h.until('50 runs', () => h.history.count('deliver') === 50)
      await again.close()
      await bus.admin.purge(h.topic)
      equal((await bus.admin.browse(h.topic)).messages.length, 0, 'left after purge')
      ok(
        (await bus.admin.topics()).some((info) => info.storage === h.topic),
        'the topic is not listed',
      )
    },
  },
]
