import { newId } from '../../message/id.ts'
import { outgoing, textOf } from '../seat.ts'
import { type Case, codeOf, equal, ok } from './case.ts'

const tooLarge = ({ maxMessageBytes }: { maxMessageBytes: number }): string | undefined =>
  maxMessageBytes > 32 * 1024 * 1024 ? 'the limit of the engine is too large to try' : undefined

/** What `Engine.publish` and `Engine.read` owe, without the core in front. */
export const contractPublishing: readonly Case[] = [
  {
    rule: 'R1',
    name: 'engine: a confirmed message can be read at once, by a connection that was not there',
    skip: ({ history }) => (history ? undefined : 'the engine keeps no history to read'),
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      for (let i = 0; i < 20; i++) {
        const [outcome] = await a.publish([outgoing(h.topic, `${i}`)])
        const { messages } = await b.read(h.topic, 'start', 100)
        ok(outcome!.ok && messages.length === i + 1, `${messages.length} messages are stored after ${i + 1} were confirmed`)
      }
    },
  },
  {
    rule: 'R1',
    name: 'engine: outcomes stand in the order of the batch, and one refused hides no other',
    skip: tooLarge,
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(100)
      const body = new Uint8Array(engine.capabilities.maxMessageBytes + 1)
      const batch = [outgoing(h.topic, 'a'), outgoing(h.topic, '', { body }), outgoing(h.topic, 'c'), outgoing(h.topic, 'd')]
      const outcomes = await engine.publish(batch)
      equal(
        outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.error.code)),
        ['ok', 'message_too_large', 'ok', 'ok'],
        'outcomes',
      )
      await h.until('the others are delivered', () => seat.deliveries.length >= 3)
      equal(seat.texts.sort(), ['a', 'c', 'd'], 'delivered')
    },
  },
  {
    rule: 'R1',
    name: 'engine: of what is stored it tells once, if it does before the rest is known, and with the outcome that it gives in the end',
    async run(h) {
      const engine = await h.engine()
      const batch = Array.from({ length: 300 }, (_, i) => outgoing(h.topic, `${i}`, { key: `k${i % 7}` }))
      const told = new Map<number, unknown>()
      const outcomes = await engine.publish(batch, undefined, (index, outcome) => {
        ok(!told.has(index), `it told twice of message ${index}`)
        told.set(index, outcome)
      })
      equal(outcomes.filter((outcome) => outcome.ok).length, batch.length, 'stored')
      for (const [index, outcome] of told) equal(outcome, outcomes[index], `outcome of message ${index}`)
    },
  },
  {
    rule: 'R1',
    name: 'engine: a closed engine refuses to publish; what it confirmed before is stored; closing twice is one close',
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      await (await h.seat(b)).close()
      const flying = a
        .publish(['1', '2', '3'].map((text) => outgoing(h.topic, text)))
        .then((outcomes) => outcomes.filter((outcome) => outcome.ok).length)
        .catch(() => 0)
      await a.close()
      await a.close()
      const confirmed = await flying
      equal(await codeOf(() => a.publish([outgoing(h.topic, 'late')])), 'closed', 'publish after close')
      const seat = await h.seat(b)
      seat.grant(10)
      await h.until('what was confirmed is delivered', () => seat.deliveries.length >= confirmed)
      ok(!seat.texts.includes('late'), 'a message that was refused was stored')
    },
  },
  {
    rule: 'R2',
    name: 'engine: the same id is stored once, in one batch and from two connections, and said to be a duplicate',
    skip: ({ dedupeWindowMs }) => (dedupeWindowMs > 0 ? undefined : 'the engine does not dedupe'),
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const id = newId()
      const first = await a.publish([outgoing(h.topic, 'x', { id }), outgoing(h.topic, 'x', { id }), outgoing(h.topic, 'y')])
      const second = await b.publish([outgoing(h.topic, 'x', { id })])
      equal(
        [...first, ...second].map((outcome) => outcome.ok && outcome.duplicate),
        [false, true, false, true],
        'duplicate',
      )
      const seat = await h.seat(a)
      seat.grant(10)
      await h.until('both are delivered', () => seat.deliveries.length >= 2)
      await h.quiet()
      equal(seat.texts.sort(), ['x', 'y'], 'delivered')
    },
  },
  {
    rule: 'R2',
    name: 'engine: where ids are not remembered a repeat is stored, and never called a duplicate',
    skip: ({ dedupeWindowMs }) => (dedupeWindowMs > 0 ? 'the engine dedupes' : undefined),
    async run(h) {
      const engine = await h.engine()
      const id = newId()
      const outcomes = await engine.publish([outgoing(h.topic, 'x', { id }), outgoing(h.topic, 'x', { id })])
      equal(
        outcomes.map((outcome) => outcome.ok && !outcome.duplicate),
        [true, true],
        'stored, no duplicate',
      )
      const seat = await h.seat(engine)
      seat.grant(10)
      await h.until('both are delivered', () => seat.deliveries.length === 2)
    },
  },
  {
    rule: 'R2',
    name: 'engine: an id is forgotten when its window is over',
    skip: ({ dedupeWindowMs }) =>
      dedupeWindowMs === 0 ? 'the engine does not dedupe' : dedupeWindowMs > 3000 ? `${dedupeWindowMs} ms is too long to wait` : undefined,
    async run(h) {
      const engine = await h.engine()
      const id = newId()
      await h.send(engine, ['x'], { id })
      await h.quiet(engine.capabilities.dedupeWindowMs + 300)
      const [again] = await h.send(engine, ['x'], { id })
      equal(again, { ...again, ok: true, duplicate: false }, 'the same id after the window')
    },
  },
  {
    rule: 'R1',
    name: 'engine: a delayed message is delivered when it is due and not before',
    skip: ({ delayMaxMs }) => (delayMaxMs > 0 ? undefined : 'the engine has no delay of its own'),
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(10)
      const deliverAt = Date.now() + 500
      await h.send(engine, ['later'], { deliverAt })
      await h.send(engine, ['now'])
      await h.until('the other one passes it', () => seat.texts.includes('now'))
      await h.until('it is delivered', () => seat.texts.includes('later'))
      ok(Date.now() >= deliverAt - 5, `it came ${deliverAt - Date.now()} ms too early`)
    },
  },
  {
    rule: 'R1',
    name: 'engine: a longer delay than it declares is refused as unsupported, or kept, and never cut short',
    skip: ({ delayMaxMs }) => (delayMaxMs === Number.POSITIVE_INFINITY ? 'it declares no limit' : undefined),
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(10)
      const deliverAt = Date.now() + engine.capabilities.delayMaxMs + 3_600_000
      const [outcome] = await engine.publish([outgoing(h.topic, 'x', { deliverAt })])
      if (!outcome!.ok) equal(outcome!.error.code, 'unsupported', 'code')
      await h.quiet()
      equal(seat.texts, [], 'delivered')
    },
  },
  {
    rule: 'R3',
    name: 'engine: pages hold every message once, as it was sent, and begin where they are told to',
    skip: ({ history }) => (history ? undefined : 'the engine keeps no history to read'),
    async run(h) {
      const engine = await h.engine()
      const headers = { 'x-a': 'b' }
      const texts = Array.from({ length: 23 }, (_, i) => `${i}`)
      const outcomes = await h.send(engine, texts, { headers, key: 'k' })
      const seen: string[] = []
      let after = 'start'
      for (let page = await engine.read(h.topic, after, 5); page.messages.length > 0; page = await engine.read(h.topic, after, 5)) {
        ok(page.messages.length <= 5, `a page of 5 holds ${page.messages.length}`)
        for (const stored of page.messages) {
          seen.push(textOf(stored))
          equal([stored.storage, stored.name, stored.key, stored.headers], [h.topic, h.topic, 'k', headers], 'stored')
        }
        after = page.next
        ok(seen.length <= texts.length, 'the pages do not end')
      }
      equal(seen, texts, 'read, page by page')
      const last = await engine.read(h.topic, 'end', 5)
      equal(last.messages, [], 'read from the end')
      await h.send(engine, ['new'])
      equal((await engine.read(h.topic, last.next, 5)).messages.map(textOf), ['new'], 'read after the end of before')
      const tenth = outcomes[9]!
      if (tenth.ok && tenth.position !== undefined)
        ok((await engine.read(h.topic, tenth.position, 100)).messages.map(textOf).includes('10'), 'the position of a receipt leads nowhere')
      equal((await engine.read(h.topic, { timeMs: Date.now() + 60_000 }, 5)).messages, [], 'read from a time to come')
      equal((await engine.read(h.topic, { timeMs: 0 }, 100)).messages.length, 24, 'read from long ago')
      equal(await codeOf(() => engine.read(`${h.topic}.none`, 'start', 5)), 'not_found', 'reading what does not exist')
    },
  },
  {
    rule: 'R8',
    name: 'engine: without a history reading and going back are refused as unsupported',
    skip: ({ history }) => (history ? 'the engine keeps a history' : undefined),
    async run(h) {
      const engine = await h.engine()
      await (await h.seat(engine)).close()
      equal(await codeOf(() => engine.read(h.topic, 'start', 5)), 'unsupported', 'read')
      equal(await codeOf(() => engine.admin.reset(h.topic, 'g', 'start')), 'unsupported', 'reset to the start')
    },
  },
]
