import type { Engine } from '../../engines/engine.ts'
import { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import { nothingChanged, nothingLost, report } from '../checkers.ts'
import { override } from '../models/wrapping.ts'
import { type Case, codeOf, equal, ok } from './case.ts'

export const publishing: readonly Case[] = [
  {
    rule: 'R1',
    name: 'what is confirmed before close is there after a new connection',
    async run(h) {
      const first = await h.bus()
      const keeper = await h.subscribe(first, h.topic, { group: 'g' })
      await keeper.close()
      const before = await h.bus()
      await Promise.all(Array.from({ length: 50 }, (_, i) => h.publish(before, h.topic, { i })))
      await before.close()
      equal(h.history.count('ok'), 50, 'confirmed')
      const after = await h.bus()
      await h.subscribe(after, h.topic, { group: 'g' })
      await h.until('all 50 are handled', () => h.history.acknowledged('g').size === 50)
      report(nothingLost(h.history, ['g']))
    },
  },
  {
    rule: 'R1',
    name: 'close waits for publishes in flight; publishing afterwards is a typed error; closing twice is one drain',
    async run(h) {
      const bus = await h.bus()
      const flying = Array.from({ length: 300 }, (_, i) => h.publish(bus, h.topic, { i }))
      await new Promise((resolve) => setImmediate(resolve))
      const closing = bus.close()
      ok(closing === bus.close(), 'a second close is another promise')
      await closing
      await Promise.all(flying)
      equal(h.history.count('ok'), 300, 'confirmed')
      equal(await codeOf(() => bus.publish(h.topic, {})), 'closed', 'publishing after close')
    },
  },
  {
    rule: 'R1',
    name: 'what the engine refuses is rejected; what it cannot take now is sent again under the same id',
    async run(h) {
      const answers: ('publish_rejected' | 'publish_unknown' | 'engine_unavailable' | undefined)[] = []
      const ids: string[] = []
      const bus = await h.bus({}, (engine) =>
        override(engine, {
          async publish(batch, signal) {
            ids.push(...batch.map(({ id }) => id))
            const code = answers.shift()
            if (code === 'engine_unavailable') throw new BusError(code, 'not now')
            if (code) return batch.map(() => ({ ok: false, error: new BusError(code, 'no') }))
            return engine.publish(batch, signal)
          },
        }),
      )
      await h.subscribe(bus, h.topic, { group: 'g' })
      answers.push('publish_rejected')
      equal(await codeOf(() => bus.publish(h.topic, 1, { id: 'refused' })), 'publish_rejected', 'refused')
      answers.push('engine_unavailable', 'engine_unavailable')
      equal((await bus.publish(h.topic, 2, { id: 'later' })).id, 'later', 'taken at the third attempt')
      answers.push('publish_unknown')
      // Sent again only where that cannot store it twice.
      const dedupes = h.engineOf(bus).capabilities.dedupeWindowMs > 0
      equal(await codeOf(() => bus.publish(h.topic, 3, { id: 'unknown' })), dedupes ? 'no error' : 'publish_unknown', 'unknown')
      equal(ids, ['refused', 'later', 'later', 'later', 'unknown', ...(dedupes ? ['unknown'] : [])], 'ids sent')
      await h.until('what was stored is handled', () => h.history.acknowledged('g').size === (dedupes ? 2 : 1))
    },
  },
  {
    rule: 'R2',
    name: 'the id travels, and one is made where none is given',
    async run(h) {
      const bus = await h.bus()
      const seen: string[] = []
      await bus.subscribe(h.topic, { group: 'g' }, (message) => void seen.push(message.id))
      const made = await bus.publish(h.topic, 1)
      await bus.publish(h.topic, 2, { id: 'my-own-id' })
      ok(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(made.id), `${made.id} is no UUIDv7`)
      await h.until('both are handled', () => seen.length === 2)
      equal([...seen].sort(), [made.id, 'my-own-id'].sort(), 'ids')
    },
  },
  {
    rule: 'R2',
    name: 'the same id again is stored once, and the receipt says so',
    skip: (capabilities) => (capabilities.dedupeWindowMs === 0 ? 'the engine does not dedupe' : undefined),
    async run(h) {
      const bus = await h.bus()
      const other = await h.bus()
      const id = newId()
      const first = await bus.publish(h.topic, { n: 1 }, { id, key: 'a' })
      const second = await other.publish(h.topic, { n: 2 }, { id, key: 'a' })
      equal([first.duplicate, second.duplicate], [false, true], 'duplicate flags')
      let runs = 0
      await bus.subscribe(h.topic, { group: 'g' }, () => void runs++)
      await h.until('it is handled', () => runs > 0)
      await h.quiet()
      equal(runs, 1, 'runs')
    },
  },
  {
    rule: 'R2',
    name: 'the key is no id: many messages of one key are all stored',
    async run(h) {
      const bus = await h.bus()
      await h.subscribe(bus, h.topic, { group: 'g' })
      for (let i = 0; i < 10; i++) await h.publish(bus, h.topic, { i }, { key: 'same' })
      await h.until('ten are handled', () => h.history.acknowledged('g').size === 10)
    },
  },
  {
    rule: 'R12',
    name: 'bodies, headers and keys arrive as they were: empty, binary, unicode, large',
    async run(h) {
      const bus = await h.bus()
      await h.subscribe(bus, h.topic, { group: 'g' })
      const large = new Uint8Array(Math.min(256 * 1024, h.engineOf(bus).capabilities.maxMessageBytes - 4096)).map((_, i) => i * 31)
      await h.publish(bus, h.topic, new Uint8Array(0))
      await h.publish(bus, h.topic, new Uint8Array([0xff, 0xfe, 0, 1, 0x80]))
      await h.publish(bus, h.topic, large, { key: 'ключ/☃' })
      await h.publish(
        bus,
        h.topic,
        { text: 'päivää ☃ \u0000 𝄞', list: [1, null, true] },
        { key: 'k', headers: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'x-note': 'größe ☃' } },
      )
      await h.until('four are handled', () => h.history.acknowledged('g').size === 4)
      report(nothingChanged(h.history))
    },
  },
  {
    rule: 'R11',
    name: 'a body above the limit is refused before it is sent, with the limit in the error',
    unstored: true,
    skip: (capabilities) => (capabilities.maxMessageBytes > 32 * 1024 * 1024 ? 'the limit is too large to try' : undefined),
    async run(h) {
      let sent = 0
      const bus = await h.bus({}, (engine) =>
        override(engine, {
          publish(batch, signal) {
            sent += batch.length
            return engine.publish(batch, signal)
          },
        }),
      )
      const limit = h.engineOf(bus).capabilities.maxMessageBytes
      try {
        await bus.publish(h.topic, new Uint8Array(limit + 1))
      } catch (error) {
        equal((error as { code?: string }).code, 'message_too_large', 'code')
        ok(String(error).includes(String(limit)), 'the error does not name the limit')
        equal(sent, 0, 'messages sent')
        return
      }
      throw new Error('it was accepted')
    },
  },
  {
    rule: 'R11',
    name: 'with claimCheck a body above the limit is stored aside and arrives whole',
    skip: (capabilities) =>
      capabilities.maxMessageBytes > 32 * 1024 * 1024
        ? 'the limit is too large to try'
        : capabilities.headers
          ? undefined
          : 'no headers to carry the claim',
    async run(h) {
      const bus = await h.bus({ claimCheck: true })
      const body = new Uint8Array(h.engineOf(bus).capabilities.maxMessageBytes + 1000).map((_, i) => i)
      let got: Uint8Array | undefined
      await bus.subscribe(h.topic, { group: 'g' }, (message) => {
        got = message.body as Uint8Array
      })
      await bus.publish(h.topic, body)
      await h.until('it is handled', () => got !== undefined)
      ok(Buffer.from(got!).equals(Buffer.from(body)), 'the body changed')
    },
  },
  {
    rule: 'R7',
    name: 'publishing past the window waits, and all of it is stored',
    async run(h) {
      let flying = 0
      let most = 0
      const counted = (engine: Engine): Engine =>
        override(engine, {
          async publish(batch, signal) {
            flying += batch.length
            most = Math.max(most, flying)
            await h.quiet(1)
            const outcomes = await engine.publish(batch, signal)
            flying -= batch.length
            return outcomes
          },
        })
      const bus = await h.bus({ publish: { window: 10 } }, counted)
      await h.subscribe(bus, h.topic, { group: 'g' })
      await Promise.all(Array.from({ length: 500 }, (_, i) => h.publish(bus, h.topic, { i })))
      ok(most > 1 && most <= 10, `${most} messages were unconfirmed at once for a window of 10`)
      await h.until('all are handled', () => h.history.acknowledged('g').size === 500)
      report(nothingLost(h.history, ['g']))
    },
  },
  {
    rule: 'R1',
    name: 'publishMany gives one outcome a body, in order',
    unstored: true,
    async run(h) {
      const bus = await h.bus()
      const circular: Record<string, unknown> = {}
      circular.self = circular
      const outcomes = await bus.publishMany(h.topic, [{ n: 1 }, circular, { n: 3 }])
      equal(
        outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.error.code)),
        ['ok', 'invalid_message', 'ok'],
        'outcomes',
      )
    },
  },
  {
    rule: 'R1',
    name: 'a delayed message comes when it is due and not before',
    async run(h) {
      const bus = await h.bus()
      const at: number[] = []
      await bus.subscribe(h.topic, { group: 'g' }, () => void at.push(Date.now()))
      const begun = Date.now()
      await bus.publish(h.topic, {}, { delay: 600 })
      await h.until('it is handled', () => at.length > 0)
      ok(at[0]! - begun >= 590, `it came after ${at[0]! - begun} ms`)
      await h.quiet()
      equal(at.length, 1, 'runs')
    },
  },
]
