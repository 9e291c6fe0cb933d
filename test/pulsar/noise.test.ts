import { once } from 'node:events'
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { loadLibraries } from '../../src/engines/pulsar/client.ts'
import { type Compression, compress, decompress, readyForAll } from '../../src/engines/pulsar/compression.ts'
import { Connection } from '../../src/engines/pulsar/connection.ts'
import { decodeEntry } from '../../src/engines/pulsar/message.ts'
import { Codec, FrameParser, messageIdOf, ProtocolError } from '../../src/engines/pulsar/protocol.ts'
import { BusError } from '../../src/index.ts'
import { describePulsar } from '../rig/needs.ts'
import { cut } from '../rig/pieces.ts'
import { startProxy } from '../rig/proxy.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { busAt, fresh } from './support.ts'

const codec = new Codec(await loadLibraries())
await readyForAll()
const place = { ledger: 1, entry: 2, partition: -1, batch: -1 }

const framed = (body: Uint8Array): Buffer => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}

/** A message as a producer sends it, with what stands before the payload as the numbers say. */
const anySend = fc
  .record({
    payload: fc.uint8Array({ maxLength: 200 }),
    extra: fc.record(
      {
        compression: fc.integer({ min: 0, max: 6 }),
        uncompressed_size: fc.nat({ max: 2 ** 32 - 1 }),
        num_messages_in_batch: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
        num_chunks_from_msg: fc.nat({ max: 3 }),
        marker_type: fc.nat({ max: 30 }),
        partition_key: fc.string(),
        partition_key_b64_encoded: fc.boolean(),
        deliver_at_time: fc.integer(),
        properties: fc.array(fc.record({ key: fc.string(), value: fc.string() }), { maxLength: 4 }),
      },
      { requiredKeys: [] },
    ),
  })
  .map(({ payload, extra }) => {
    const metadata = codec.encodeMetadata({ producer_name: 'p', sequence_id: 1, publish_time: 1, ...extra })
    return Buffer.concat(codec.encodeSend({ producer_id: 1, sequence_id: 1 }, metadata, payload))
  })
const anyFrame = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 300 }).map(framed),
  fc.string().map((message) => codec.encode('error', { request_id: 1, error: 2, message })),
  fc.constant(codec.encode('ping', {})),
  anySend,
)
const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })

function altered(bytes: Buffer, how: readonly (readonly [number, number])[], end: number): Buffer {
  const copy = Buffer.from(bytes)
  for (const [at, value] of how) if (copy.length > 0) copy[at % copy.length] = value
  return copy.subarray(0, end % (copy.length + 1))
}

/** A value, or the error of the protocol. */
function tried<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError)
    return undefined
  }
}

describe('frames of Pulsar under noise', () => {
  test('cut off, in another order, or altered anywhere: the parser goes on, or fails once and is silent then', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyFrame, fc.uint8Array({ maxLength: 100 }).map(Buffer.from)), { minLength: 1, maxLength: 8 }),
        changes,
        fc.nat(),
        fc.array(fc.nat(), { maxLength: 30 }),
        (frames, how, end, cuts) => {
          const bytes = altered(Buffer.concat(frames.reverse()), how, end)
          let seen = 0
          const parser = new FrameParser(1024, (frame) => {
            expect(frame.length).toBeLessThanOrEqual(1024)
            seen++
            tried(() => codec.decode(frame))
          })
          try {
            for (const piece of cut(bytes, cuts)) parser.push(piece)
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError)
            const before = seen
            parser.push(codec.encode('ping', {}))
            expect(seen).toBe(before)
          }
          expect(seen).toBeLessThanOrEqual(bytes.length / 8)
        },
      ),
    )
  })

  test('a frame beyond the limit is refused at its size, before anything of it is kept', () => {
    const parser = new FrameParser(1024, () => {})
    const size = Buffer.alloc(4)
    size.writeUInt32BE(1025)
    expect(() => parser.push(size)).toThrow('a frame of 1025 bytes')
  })
})

describe('messages of Pulsar', () => {
  test('altered or noise: a value, or an error of the protocol', () => {
    fc.assert(
      fc.property(anySend, fc.uint8Array({ maxLength: 200 }), changes, fc.nat(), fc.nat(100_000), (send, noise, how, end, count) => {
        const whole = codec.decode(send.subarray(4))!.rest
        // Without its checksum it is as good as any: what comes after is tried too.
        for (const rest of [whole, whole.subarray(6), altered(whole, how, end), altered(whole.subarray(6), how, end), Buffer.from(noise)]) {
          tried(() => codec.decode(rest))
          tried(() => codec.decodeMessage(rest))
          tried(() => codec.decodeBatch(rest, count))
          tried(() => decodeEntry(codec, rest, place, 't'))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a receipt that names no message is none', () => {
    const { fields } = codec.decode(codec.encode('receipt', { producer_id: 1, sequence_id: 1 }).subarray(4))!
    expect(() => messageIdOf(fields['message_id'])).toThrow(ProtocolError)
  })
})

describe('compressed bytes', () => {
  const numbers: readonly [Compression, number][] = [
    ['lz4', 1],
    ['zlib', 2],
    ['zstd', 3],
  ]
  const anyBytes = fc.oneof(
    fc.uint8Array({ maxLength: 500 }),
    fc.tuple(fc.uint8Array({ maxLength: 20 }), fc.nat(200)).map(([part, times]) => Buffer.concat(new Array(times).fill(part))),
  )

  test.each(numbers)('%s: the same again; another size or noise is refused', (name, number) => {
    fc.assert(
      fc.property(anyBytes, fc.nat(5000), changes, fc.nat(), (bytes, size, how, end) => {
        const { kind, bytes: packed } = compress(bytes, name)
        const from = Buffer.from(packed)
        expect(decompress(from, kind, bytes.length).equals(bytes)).toBe(true)
        if (kind !== 0 && size !== bytes.length) expect(() => decompress(from, kind, size)).toThrow(BusError)
        for (const [noise, most] of [[altered(from, how, end), bytes.length] as const, [Buffer.from(bytes), size] as const])
          try {
            expect(decompress(noise, number, most).length).toBe(most)
          } catch (error) {
            expect(error).toBeInstanceOf(BusError)
          }
      }),
    )
  })

  test.each(numbers)('%s: no room is made for a size that no message has', (_, number) => {
    expect(() => decompress(Buffer.from('x'), number, 2 ** 32 - 1)).toThrow(/: 4294967295 bytes$/)
  })
})

await describePulsar('garbage in the stream', async () => {
  const broker = await startPulsar()
  afterAll(() => broker.stop())

  test('from the start: the connection is refused, and the port is asked about', async () => {
    const server = createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const opening = Connection.open({ address: { host: '127.0.0.1', port }, secure: false }, {}, codec)
    await expect(opening).rejects.toThrow(BusError)
    await expect(opening).rejects.toThrow('is it its port for clients')
    server.close()
  })

  test('between the frames of a broker: the connection ends with an error, and so do its requests', async () => {
    await using proxy = await startProxy(broker.port)
    let client: Socket | undefined
    const server = createServer((socket) => {
      client = socket.on('error', () => {})
      socket.pipe(dial(proxy.port, '127.0.0.1').on('error', () => {})).pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const connection = await Connection.open({ address: { host: '127.0.0.1', port }, secure: false }, {}, codec)
    proxy.set({ blackhole: true })
    const asked = connection.ask('partitions', { topic: 'persistent://public/default/t' }, 'a question')
    client!.write(framed(Buffer.alloc(8, 0xff)))
    await expect(asked).rejects.toThrow(/does not speak Pulsar's protocol/)
    expect(connection.open).toBe(false)
    server.close()
  })
})

await describePulsar('garbage in what a broker says', async () => {
  let port = 0
  const clients = new Set<Socket>()
  const between = createServer((socket) => {
    clients.add(socket.on('error', () => {}).on('close', () => clients.delete(socket)))
    socket.pipe(dial(port, '127.0.0.1').on('error', () => socket.destroy())).pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(between, 'listening')
  const seen = (between.address() as AddressInfo).port
  // All go that way, whoever asks where a topic is.
  const broker = await startPulsar({ extra: { advertisedListeners: `all:pulsar://127.0.0.1:${seen}` } })
  port = broker.port
  afterAll(async () => {
    await broker.stop()
    between.close()
  })

  test('a bus goes on: it connects again, and nothing confirmed is lost', async () => {
    const others = new Set(clients)
    const bus = await busAt(`pulsar://127.0.0.1:${seen}`, { admin: broker.admin })
    const topic = fresh('noise')
    const got = new Set<unknown>()
    await bus.subscribe(topic, { group: 'g', order: 'key' }, ({ body }) => void got.add(body))
    const confirmed: number[] = []
    let cut = 0
    for (let n = 0; n < 60; n++) {
      const sent = bus.publish(topic, n, { key: `k${n % 3}` }).then(
        () => confirmed.push(n),
        () => {},
      )
      if (n % 12 === 11)
        for (const socket of clients) {
          if (others.has(socket)) continue
          socket.write(framed(Buffer.alloc(8, 0xff)))
          cut++
        }
      await sent
    }
    expect(cut).toBeGreaterThanOrEqual(5)
    expect(confirmed.length).toBeGreaterThan(50)
    await expect.poll(() => confirmed.filter((n) => !got.has(n))).toEqual([])
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
  }, 60_000)
})
