import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FrameHandlers, FrameParser, mpub, ProtocolError, pub, type WireMessage } from '../../src/engines/nsq/protocol.ts'
import { cut } from '../rig/pieces.ts'

type Seen = ['response' | 'error', string] | ['message', string, number, bigint, string]

function recorder(): { seen: Seen[]; handlers: FrameHandlers } {
  const seen: Seen[] = []
  return {
    seen,
    handlers: {
      response: (text) => void seen.push(['response', text]),
      error: (text) => void seen.push(['error', text]),
      message: ({ id, attempts, timestampNs, body }: WireMessage) =>
        void seen.push(['message', id, attempts, timestampNs, body.toString('hex')]),
    },
  }
}

function frame(type: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(4 + body.length, 0)
  head.writeUInt32BE(type, 4)
  return Buffer.concat([head, body])
}

function messageFrame(id: string, attempts: number, timestampNs: bigint, body: Uint8Array): Buffer {
  const head = Buffer.alloc(10)
  head.writeBigInt64BE(timestampNs, 0)
  head.writeUInt16BE(attempts, 8)
  return frame(2, Buffer.concat([head, Buffer.from(id), body]))
}

const anyFrame: fc.Arbitrary<{ bytes: Buffer; seen: Seen }> = fc.oneof(
  fc
    .string({ unit: 'grapheme-ascii', maxLength: 60 })
    .map((text) => ({ bytes: frame(0, Buffer.from(text)), seen: ['response', text] as Seen })),
  fc.string({ maxLength: 60 }).map((text) => ({ bytes: frame(1, Buffer.from(text)), seen: ['error', text] as Seen })),
  fc
    .record({
      id: fc.stringMatching(/^[0-9a-f]{16}$/),
      attempts: fc.integer({ min: 0, max: 65_535 }),
      at: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
      body: fc.uint8Array({ maxLength: 300 }),
    })
    .map(({ id, attempts, at, body }) => ({
      bytes: messageFrame(id, attempts, at, body),
      seen: ['message', id, attempts, at, Buffer.from(body).toString('hex')] as Seen,
    })),
)

describe('frames of NSQ', () => {
  test('come out as they were sent, in whatever pieces they arrive', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 40 }), (frames, cuts) => {
        const { seen, handlers } = recorder()
        const parser = new FrameParser(4096, handlers)
        for (const piece of cut(Buffer.concat(frames.map(({ bytes }) => bytes)), cuts)) parser.push(piece)
        expect(seen).toEqual(frames.map((one) => one.seen))
      }),
    )
  })

  test('cut off, in another order, or altered anywhere: the parser goes on or fails with its own error, and holds one frame at most', () => {
    const maxFrameBytes = 1024
    fc.assert(
      fc.property(
        fc.array(anyFrame, { minLength: 1, maxLength: 8 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
        fc.nat(),
        fc.array(fc.nat(), { maxLength: 30 }),
        (frames, changes, end, cuts) => {
          const bytes = Buffer.concat(frames.reverse().map((one) => one.bytes))
          for (const [at, value] of changes) bytes[at % bytes.length] = value
          const { seen, handlers } = recorder()
          const parser = new FrameParser(maxFrameBytes, handlers)
          try {
            for (const piece of cut(bytes.subarray(0, end % (bytes.length + 1)), cuts)) parser.push(piece)
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError)
            const before = seen.length
            parser.push(frame(0, Buffer.from('OK')))
            expect(seen.length).toBe(before)
          }
          expect(seen.length).toBeLessThanOrEqual(bytes.length / 8)
        },
      ),
    )
  })

  test('noise: an error of its own, or patience for less than one frame', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 50 }), (pieces) => {
        const { handlers } = recorder()
        const parser = new FrameParser(4096, handlers)
        try {
          for (const piece of pieces) parser.push(Buffer.from(piece))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
    )
  })

  test('a frame beyond the limit is refused at its size, before anything of it is kept', () => {
    const parser = new FrameParser(1024, recorder().handlers)
    const size = Buffer.alloc(4)
    size.writeUInt32BE(1025)
    expect(() => parser.push(size)).toThrow(/a frame of 1025 bytes/)
  })

  test('other servers are told by what they say', () => {
    const said = (text: string) => () => new FrameParser(1 << 20, recorder().handlers).push(Buffer.from(text, 'latin1'))
    expect(said('HTTP/1.1 400 Bad Request\r\n')).toThrow('an HTTP server listens there')
    expect(said('\0\0\0\x0eE_BAD_PROTOCOL')).toThrow('nsqlookupd listens there')
  })

  test('a large frame in small pieces is put together once, not at each piece', () => {
    const { seen, handlers } = recorder()
    const parser = new FrameParser(64 << 20, handlers)
    const bytes = messageFrame('0123456789abcdef', 1, 1n, Buffer.alloc(16 << 20, 7))
    const begun = performance.now()
    for (let at = 0; at < bytes.length; at += 1000) parser.push(bytes.subarray(at, at + 1000))
    expect(seen.length).toBe(1)
    // Copied at each of 16,777 pieces it would be 140 GB.
    expect(performance.now() - begun).toBeLessThan(5000)
  })
})

test('commands are the bytes of the specification', () => {
  expect(Buffer.concat(pub('t', Buffer.from('ab'))).toString('latin1')).toBe('PUB t\n\0\0\0\x02ab')
  expect(Buffer.concat(mpub('t', [Buffer.from('a'), Buffer.from('bc')])).toString('latin1')).toBe(
    'MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc',
  )
})
