import { Reject, Retry } from '../../deliver/outcome.ts'
import { nothingChanged, report } from '../checkers.ts'
import { type Case, equal, ok } from './case.ts'

export const failures: readonly Case[] = [
  {
    rule: 'R4',
    name: 'a throwing handler is retried with growing delays, and attempt counts',
    async run(h) {
      const bus = await h.bus()
      const at: number[] = []
      const attempts: number[] = []
      await bus.subscribe(
        h.topic,
        { group: 'g', retry: { attempts: 5, initial: 60, factor: 2, max: 1000, jitter: 'none' } },
        (_message, delivery) => {
          at.push(Date.now())
          attempts.push(delivery.attempt)
          if (attempts.length < 4) throw new Error('not yet')
        },
      )
      await bus.publish(h.topic, {})
      await h.until('the fourth attempt has come', () => attempts.length === 4)
      await h.quiet()
      equal(attempts, [1, 2, 3, 4], 'attempts')
      for (const [i, least] of [60, 120, 240].entries())
        ok(at[i + 1]! - at[i]! >= least - 5, `retry ${i + 1} came after ${at[i + 1]! - at[i]!} ms instead of ${least}`)
    },
  },
  {
    rule: 'R4',
    name: 'at the limit the message becomes a dead letter, with its bytes, key, headers, id and the reason',
    async run(h) {
      const bus = await h.bus()
      await h.subscribe(bus, h.topic, { group: 'g', retry: { attempts: 3, initial: 10, jitter: 'none' } }, () => {
        throw new Error('always broken')
      })
      const id = await h.publish(bus, h.topic, { doc: 7 }, { key: 'k', headers: { 'x-trace': 't1' } })
      const desk = bus.admin.deadLetters(h.topic, 'g')
      await h.until('there is a dead letter', async () => (await desk.count()) === 1)
      const [letter] = await desk.list()
      equal(
        {
          ...letter,
          id: undefined,
          bytes: undefined,
          storage: undefined,
          publishedAt: undefined,
          firstFailure: undefined,
          lastFailure: undefined,
        },
        {
          topic: h.topic,
          group: 'g',
          messageId: id,
          key: 'k',
          headers: { 'x-trace': 't1' },
          attempts: 3,
          crashes: 0,
          error: 'always broken',
          replays: 0,
          body: { doc: 7 },
        },
        'dead letter',
      )
      equal(Buffer.from(letter!.bytes).toString(), '{"doc":7}', 'bytes')
      equal(h.history.count('deliver'), 3, 'attempts made')
      await h.quiet(300)
      equal(h.history.count('deliver'), 3, 'attempts made after it was given up')
    },
  },
  {
    rule: 'R4',
    name: 'Reject and an undecodable body go to the dead letters at once; Retry names its time',
    async run(h) {
      const bus = await h.bus()
      const at: number[] = []
      await bus.subscribe(h.topic, { group: 'g' }, (message) => {
        if (message.body === 'reject') throw new Reject('bad file')
        at.push(Date.now())
        if (at.length === 1) throw new Retry({ after: 400 })
      })
      await bus.publish(h.topic, 'reject')
      await bus.publish(h.topic, Buffer.from('{no json'), { headers: { 'content-type': 'application/json' } })
      await bus.publish(h.topic, 'retry')
      const desk = bus.admin.deadLetters(h.topic, 'g')
      await h.until('two dead letters and one success', async () => (await desk.count()) === 2 && at.length === 2)
      const errors = (await desk.list()).map((letter) => letter.error).sort()
      ok(
        errors.some((text) => text.includes('bad file')) && errors.some((text) => text.includes('application/json')),
        `errors: ${errors.join(' | ')}`,
      )
      ok(at[1]! - at[0]! >= 390, `the retry came after ${at[1]! - at[0]!} ms instead of 400`)
    },
  },
  {
    rule: 'R10',
    name: 'replay reaches only the group that gave up, under the same id, and counts',
    async run(h) {
      const bus = await h.bus()
      let broken = true
      await h.subscribe(bus, h.topic, { group: 'gave-up', retry: { attempts: 1 } }, () => {
        if (broken) throw new Error('broken')
      })
      await h.subscribe(bus, h.topic, { group: 'other' })
      const id = await h.publish(bus, h.topic, { n: 1 }, { key: 'k', headers: { 'x-a': 'b' } })
      const desk = bus.admin.deadLetters(h.topic, 'gave-up')
      await h.until(
        'there is a dead letter and the other group is done',
        async () => (await desk.count()) === 1 && h.history.acknowledged('other').has(id),
      )
      broken = false
      const [letter] = await desk.list()
      equal(await desk.replay([letter!.id]), 1, 'replayed')
      await h.until('the group has finished it', () => h.history.acknowledged('gave-up').has(id))
      await h.quiet()
      equal(await desk.count(), 0, 'dead letters left')
      equal(h.history.entries.filter((entry) => entry.kind === 'deliver' && entry.group === 'other').length, 1, 'runs in the other group')
      report(nothingChanged(h.history))
    },
  },
  {
    rule: 'R10',
    name: 'dead letters are paged, filtered and discarded',
    async run(h) {
      const bus = await h.bus()
      await bus.subscribe(h.topic, { group: 'g' }, (message) => {
        throw new Reject(`bad ${message.body.n % 2 ? 'odd' : 'even'}`)
      })
      for (let n = 0; n < 12; n++) await bus.publish(h.topic, { n })
      const desk = bus.admin.deadLetters(h.topic, 'g')
      await h.until('there are twelve', async () => (await desk.count()) === 12)
      const first = await desk.list({ limit: 5 })
      const rest = await desk.list({ limit: 20, after: first.at(-1)!.id })
      equal([first.length, rest.length, new Set([...first, ...rest].map((letter) => letter.id)).size], [5, 7, 12], 'pages')
      equal(await desk.discard({ error: 'odd' }), 6, 'discarded')
      equal(await desk.count(), 6, 'left')
    },
  },
  {
    rule: 'R4',
    name: 'a handler that throws a non-error, or returns garbage, breaks nothing',
    async run(h) {
      const bus = await h.bus()
      let runs = 0
      await bus.subscribe(h.topic, { group: 'g' }, () => {
        runs++
        if (runs === 1) throw undefined
        if (runs === 2) throw 'text'
        return 42
      })
      await bus.publish(h.topic, {})
      await h.until('the third run has come', () => runs === 3)
      await h.quiet()
      equal(runs, 3, 'runs')
    },
  },
  {
    rule: 'R4',
    name: 'attempts survive a change of members',
    async run(h) {
      const first = await h.bus()
      const retry = { attempts: 3, initial: 400, jitter: 'none' as const }
      const fail = (): never => {
        throw new Error('broken')
      }
      await h.subscribe(first, h.topic, { group: 'g', retry }, fail, 'a')
      await h.publish(first, h.topic, {}, { key: 'k' })
      await h.until('it failed once', () => h.history.count('settle') === 1)
      await h.quiet(50)
      await first.close()
      const second = await h.bus()
      await h.subscribe(second, h.topic, { group: 'g', retry }, fail, 'b')
      await h.until('there is a dead letter', async () => (await second.admin.deadLetters(h.topic, 'g').count()) === 1)
      equal(
        h.history.entries.filter((entry) => entry.kind === 'deliver').map((entry) => (entry as { attempt: number }).attempt),
        [1, 2, 3],
        'attempts',
      )
    },
  },
  {
    rule: 'R4',
    name: 'the breaker slows a group down when everything fails, and spends no attempts meanwhile',
    async run(h) {
      const bus = await h.bus()
      let broken = true
      let runs = 0
      // Of what comes first, before the rest is there, one could be given up before a third has failed.
      const four = Promise.withResolvers<void>()
      const work = await bus.subscribe(
        h.topic,
        { group: 'g', concurrency: 4, retry: { attempts: 3, initial: 1, jitter: 'none' }, breaker: { failures: 3, initial: 40, max: 40 } },
        async () => {
          if (++runs === 4) four.resolve()
          await four.promise
          if (broken) throw new Error('outage')
        },
      )
      const bodies = Array.from({ length: 30 }, (_, i) => ({ i }))
      await bus.publishMany(h.topic, bodies)
      await h.until('it is slowed', () => work.status().state === 'slowed')
      const begun = runs
      await h.quiet(400)
      ok(runs - begun <= 14, `${runs - begun} runs in 400 ms while slowed`)
      broken = false
      await h.until('all are handled', () => work.status().handled === 30)
      equal(await bus.admin.deadLetters(h.topic, 'g').count(), 0, 'dead letters')
    },
  },
  {
    rule: 'R4',
    name: 'a batch has an outcome for each message',
    async run(h) {
      const bus = await h.bus()
      const seen = new Map<number, number>()
      let largest = 0
      await h.subscribeBatch(bus, h.topic, { group: 'g', batch: { size: 10, wait: 50 } }, (messages) => {
        largest = Math.max(largest, messages.length)
        return messages.map((message) => {
          const times = (seen.get(message.body.i) ?? 0) + 1
          seen.set(message.body.i, times)
          return message.body.i % 5 === 0 && times === 1 ? new Error('once') : undefined
        })
      })
      await bus.publishMany(
        h.topic,
        Array.from({ length: 40 }, (_, i) => ({ i })),
      )
      await h.until('all are handled', () => seen.size === 40 && [...seen].every(([i, times]) => times === (i % 5 === 0 ? 2 : 1)))
      await h.quiet()
      equal(
        [...seen.values()].reduce((a, b) => a + b, 0),
        48,
        'runs',
      )
      ok(largest > 1 && largest <= 10, `the largest batch had ${largest}`)
    },
  },
]
