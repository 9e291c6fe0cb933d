import type { NatsConnection } from '@nats-io/transport-node'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Frames, frameOf } from '../../src/engines/nats/frames.ts'

const kib = 1024

/** What goes to the client, and what of it goes out at once. */
function listen(maxPayload = 1024 * kib) {
  const handed: Uint8Array[] = []
  let out = 0
  const protocol = { sendCommand: (bytes: Uint8Array) => void handed.push(bytes), flushPending: () => void (out = handed.length) }
  const frames = new Frames({ info: { max_payload: maxPayload }, protocol } as unknown as NatsConnection)
  return { frames, sent: () => Buffer.concat(handed), handed, out: () => out }
}

const message = fc.record({
  subject: fc.constantFrom('a', 'grüße.b'),
  reply: fc.constantFrom('', '_INBOX.x.1-2'),
  headers: fc.oneof(
    fc.constant(''),
    fc.string({ unit: 'grapheme' }).map((value) => `NATS/1.0\r\nx: ${value}\r\n`),
  ),
  size: fc.oneof(fc.nat(300), fc.constantFrom(32 * kib, 64 * kib, 65 * kib, 200 * kib)),
})

test('messages lie one behind the other as the protocol has them, whatever their sizes and wherever they are handed over', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(message, fc.boolean()), { maxLength: 60 }), (messages) => {
      const { frames, sent, handed } = listen()
      let wanted = Buffer.alloc(0)
      for (const [i, [{ subject, reply, headers, size }, send]] of messages.entries()) {
        const body = new Uint8Array(size).fill(i)
        frames.add(subject, body, reply, headers)
        if (send) frames.send()
        const block = headers === '' ? '' : `${headers}\r\n`
        const length = Buffer.byteLength(block)
        const head = [
          block === '' ? 'PUB' : 'HPUB',
          subject,
          ...(reply === '' ? [] : [reply]),
          ...(block === '' ? [] : [length]),
          length + size,
        ]
        wanted = Buffer.concat([wanted, Buffer.from(`${head.join(' ')}\r\n${block}`), body, Buffer.from('\r\n')])
      }
      frames.send()
      expect(sent().equals(wanted)).toBe(true)
      // By WebSocket the client sends all the memory that the bytes lie in.
      for (const { buffer, byteLength } of handed) expect(buffer.byteLength).toBe(byteLength)
    }),
    { numRuns: 200 },
  )
})

test('many small ones are written in one go, beside others', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom('a', 'grüße.b'), fc.constantFrom('+ACK', '-NAK {"delay":5}'), fc.nat(3000)), { maxLength: 20 }),
      (some) => {
        const { frames, sent } = listen()
        let wanted = ''
        for (const [subject, text, times] of some) {
          frames.addAll(frameOf(subject, text).repeat(times))
          frames.add('x', Buffer.from('y'))
          wanted += `${`PUB ${subject} ${text.length}\r\n${text}\r\n`.repeat(times)}PUB x 1\r\ny\r\n`
        }
        frames.send()
        expect(sent().toString()).toBe(wanted)
      },
    ),
    { numRuns: 30 },
  )
})

test('nothing goes before it is sent, but so much as is worth a write goes at once', () => {
  const { frames, handed, out } = listen()
  frames.add('a', new Uint8Array(100))
  expect(handed).toHaveLength(0)
  frames.add('a', new Uint8Array(40 * kib))
  expect([handed.length, out()]).toEqual([1, 1])
  frames.add('a', new Uint8Array(100))
  frames.send()
  frames.send()
  expect([handed.length, out()]).toEqual([2, 1])
})

test('a body that was transferred meanwhile is refused, and nothing of its frame sent', () => {
  const { frames, sent } = listen()
  const body = new Uint8Array(10)
  structuredClone(body, { transfer: [body.buffer] })
  expect(() => frames.add('a', body)).toThrow()
  frames.add('b', new Uint8Array(0))
  frames.send()
  expect(sent().toString()).toBe('PUB b 0\r\n\r\n')
})

test('more than the server takes, headers included, is refused, and nothing of it sent', () => {
  const { frames, sent } = listen(100)
  frames.add('a', new Uint8Array(100))
  expect(() => frames.add('a', new Uint8Array(101))).toThrow('max_payload')
  expect(() => frames.add('a', new Uint8Array(90), '', 'NATS/1.0\r\nx: 1\r\n')).toThrow('max_payload')
  frames.send()
  expect(sent().length).toBe('PUB a 100\r\n\r\n'.length + 100)
})
