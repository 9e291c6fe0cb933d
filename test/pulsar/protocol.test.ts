import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { loadLibraries } from '../../src/engines/pulsar/client.ts'
import { readyForAll } from '../../src/engines/pulsar/compression.ts'
import { decodeEntry, encodeMessage } from '../../src/engines/pulsar/message.ts'
import { Codec, FrameParser, type MessageId, ProtocolError } from '../../src/engines/pulsar/protocol.ts'
import { cut } from '../rig/pieces.ts'

let codec: Codec
beforeAll(async () => {
  codec = new Codec(await loadLibraries())
  await readyForAll()
})

const place: MessageId = { ledger: 1, entry: 2, partition: -1, batch: -1 }
const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}

/** What stands behind the command of a message, as a broker hands it on. */
function entryOf(body: Uint8Array, key?: string, compression: 'none' | 'lz4' | 'zlib' | 'zstd' = 'none'): Buffer {
  const message = { storage: 's', name: 's', id: 'one', key, headers: { a: 'b' }, body, at: 5, deliverAt: undefined }
  const { metadata, payload } = encodeMessage(message, compression)
  const bytes = codec.encodeMetadata({ ...metadata, producer_name: 'p', sequence_id: 1 })
  const frame = Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, bytes, payload))
  return codec.decode(frame.subarray(4))!.rest
}

/** A batch, as Go's client sends it. */
function batchOf(bodies: readonly string[]): Buffer {
  const parts = bodies.flatMap((body, i) => {
    const { payload } = { payload: Buffer.from(body) }
    // SingleMessageMetadata: partition_key = 2, payload_size = 3.
    const key = Buffer.from(`k${i}`)
    const single = Buffer.concat([Buffer.from([0x12, key.length]), key, Buffer.from([0x18, payload.length])])
    return [u32(single.length), single, payload]
  })
  const bytes = codec.encodeMetadata({ producer_name: 'go', sequence_id: 1, publish_time: 7, num_messages_in_batch: bodies.length })
  const frame = Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, bytes, Buffer.concat(parts)))
  return codec.decode(frame.subarray(4))!.rest
}

const anyFrame = fc.oneof(
  fc.constant(0).map(() => codec.encode('ping', {})),
  fc
    .record({ request_id: fc.nat(), error: fc.integer({ min: 0, max: 30 }), message: fc.string() })
    .map((fields) => codec.encode('error', fields)),
  fc
    .record({ consumer_id: fc.nat(), body: fc.uint8Array({ maxLength: 200 }) })
    .map(({ consumer_id, body }) =>
      Buffer.concat([codec.encode('message', { consumer_id, message_id: { ledgerId: 1, entryId: 2 } }), Buffer.from(body)]),
    )
    .map((bytes) => {
      bytes.writeUInt32BE(bytes.length - 4, 0)
      return bytes
    }),
)

describe('frames of Pulsar', () => {
  test('come out as they were sent, in whatever pieces they arrive', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 40 }), (frames, cuts) => {
        const seen: string[] = []
        const parser = new FrameParser(4096, (frame) => seen.push(frame.toString('hex')))
        for (const piece of cut(Buffer.concat(frames), cuts)) parser.push(piece)
        expect(seen).toEqual(frames.map((frame) => frame.subarray(4).toString('hex')))
      }),
    )
  })

  test('cut off, in another order, or altered anywhere: decoded, or refused with an error of its own', () => {
    fc.assert(
      fc.property(
        fc.array(anyFrame, { minLength: 1, maxLength: 8 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
        fc.nat(),
        fc.array(fc.nat(), { maxLength: 30 }),
        (frames, changes, end, cuts) => {
          const bytes = Buffer.concat(frames.reverse())
          for (const [at, value] of changes) bytes[at % bytes.length] = value
          let seen = 0
          const parser = new FrameParser(1024, (frame) => {
            seen++
            codec.decode(frame)
          })
          try {
            for (const piece of cut(bytes.subarray(0, end % (bytes.length + 1)), cuts)) parser.push(piece)
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError)
          }
          expect(seen).toBeLessThanOrEqual(bytes.length / 8)
        },
      ),
    )
  })

  test('noise: an error of its own, or patience for less than one frame', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 50 }), (pieces) => {
        const parser = new FrameParser(4096, (frame) => void codec.decode(frame))
        try {
          for (const piece of pieces) parser.push(Buffer.from(piece))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
    )
  })

  test('a frame beyond the limit is refused at its size, before anything of it is kept', () => {
    const parser = new FrameParser(1024, () => {})
    expect(() => parser.push(u32(1025))).toThrow(/a frame of 1025 bytes/)
  })
})

describe('messages of Pulsar', () => {
  test.each(['none', 'lz4', 'zlib', 'zstd'] as const)('%s: a body comes back as it was', (compression) => {
    for (const size of [0, 1, 100, 70_000]) {
      const body = Buffer.alloc(size, 'abcdefg')
      const { messages } = decodeEntry(codec, entryOf(body, 'k', compression), place, 's')
      expect(messages[0]!.stored).toMatchObject({ id: 'one', key: 'k', headers: { a: 'b' }, at: 5 })
      expect(Buffer.from(messages[0]!.stored.body).equals(body)).toBe(true)
    }
  })

  test('an entry with one bit changed is refused by its checksum', () => {
    const rest = entryOf(Buffer.from('hello'))
    fc.assert(
      fc.property(fc.integer({ min: 6, max: rest.length - 1 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
        const broken = Buffer.from(rest)
        broken[at]! ^= 1 << bit
        expect(() => decodeEntry(codec, broken, place, 's')).toThrow(ProtocolError)
      }),
    )
  })

  test('a batch of a foreign producer: each with its key, and ids by their places', () => {
    const { count, messages } = decodeEntry(codec, batchOf(['a', 'bc', '']), place, 's')
    expect(count).toBe(3)
    expect(messages.map((one) => [one!.stored.key, Buffer.from(one!.stored.body).toString(), one!.stored.id])).toEqual([
      ['k0', 'a', 's:1:2:-1:0'],
      ['k1', 'bc', 's:1:2:-1:1'],
      ['k2', '', 's:1:2:-1:2'],
    ])
  })

  test('whatever stands where an entry should: decoded, or refused with an error of its own', () => {
    // Without the checksum, which would catch all of it: older producers send none.
    const whole = batchOf(['abc', 'defgh', 'ij']).subarray(6)
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 5 }), fc.nat(), (changes, end) => {
        const bytes = Buffer.from(whole)
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        try {
          decodeEntry(codec, bytes.subarray(0, end % (bytes.length + 1)), place, 's')
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('a batch that claims more messages than fit takes no memory for them', () => {
    const bytes = codec.encodeMetadata({ producer_name: 'x', sequence_id: 1, publish_time: 1, num_messages_in_batch: 2_000_000_000 })
    const frame = Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, bytes, Buffer.from('xx')))
    const begun = performance.now()
    expect(() => decodeEntry(codec, codec.decode(frame.subarray(4))!.rest, place, 's')).toThrow(ProtocolError)
    expect(performance.now() - begun).toBeLessThan(1000)
  })
})
