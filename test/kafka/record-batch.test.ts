import {
  compressionsAlgorithms,
  compressionsAlgorithmsByBitmask,
  crc32c,
  createRecordsBatch,
  Reader,
  readRecordsBatch,
} from '@platformatic/kafka'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeBatches, encodeBatch } from '../../src/engines/kafka/record-batch.ts'
import { decodeRecord, type Sending, sizeOf } from '../../src/engines/kafka/records.ts'

const identity = { producerId: 77n, producerEpoch: 3 }
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const text = fc.oneof(fc.string({ maxLength: 80 }), fc.string({ unit: 'binary', maxLength: 80 }))
const sending = fc.record({
  topic: fc.constant('t'),
  partition: fc.constant(0),
  key: fc.option(bytes, { nil: undefined }),
  value: fc.option(
    fc.oneof(
      bytes,
      fc.integer({ min: 8000, max: 20_000 }).map((size) => Buffer.alloc(size, 7)),
    ),
    { nil: undefined },
  ),
  headers: fc.array(fc.tuple(text, text), { maxLength: 4 }).map((pairs) => pairs.flat()),
  // Clocks jump, back too.
  timestamp: fc.integer({ min: 0, max: 2 ** 45 }),
})
const batchOf = fc.array(sending, { minLength: 1, maxLength: 8 })
/** What the client itself writes: it cuts a difference of more than 24 days. */
const clientsOf = fc.array(
  sending.map((record) => ({ ...record, timestamp: 1_700_000_000_000 + (record.timestamp % 2 ** 30) })),
  { minLength: 1, maxLength: 8 },
)
const encoded = (records: readonly Sending[], codec?: Parameters<typeof encodeBatch>[5]) =>
  encodeBatch(
    records,
    records.reduce((sum, record) => sum + sizeOf(record), 0),
    identity,
    12,
    crc32c,
    codec,
  )

const shown = (some: Uint8Array | null | undefined): string | undefined => (some ? Buffer.from(some).toString('latin1') : undefined)

/** The same bytes in other pieces. */
function cut(whole: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((one) => one % whole.length).sort((a, b) => a - b), whole.length]
  return places.slice(1).map((end, i) => whole.subarray(places[i], end))
}

test('a batch is read by the client as it was meant, checksum and all', () => {
  fc.assert(
    fc.property(batchOf, (records) => {
      const batch = encoded(records) as Buffer
      expect(batch.readUInt32BE(17)).toBe(crc32c(batch.subarray(21)))
      const read = readRecordsBatch(Reader.from(batch))
      expect(read).toMatchObject({
        length: batch.length - 12,
        magic: 2,
        attributes: 0,
        producerId: 77n,
        producerEpoch: 3,
        firstSequence: 12,
      })
      expect(read.lastOffsetDelta).toBe(records.length - 1)
      expect(Number(read.maxTimestamp)).toBe(Math.max(...records.map(({ timestamp }) => timestamp)))
      for (const [i, { key, value, headers, timestamp }] of records.entries()) {
        const one = read.records[i]!
        expect(one.offsetDelta).toBe(i)
        expect(Number(read.firstTimestamp + one.timestampDelta)).toBe(timestamp)
        expect(shown(one.key)).toBe(shown(key))
        expect(shown(one.value)).toBe(shown(value))
        expect([...one.headers].flat().map(String)).toEqual(headers.map((header) => String(Buffer.from(header))))
      }
    }),
  )
})

test('batches of the client are read, in whatever pieces they come, and one that is cut off is not', () => {
  const ofClient = (records: readonly Sending[]): Buffer =>
    createRecordsBatch(
      records.map(({ headers, timestamp, ...record }) => ({
        ...record,
        headers: new Map(
          Array.from({ length: headers.length / 2 }, (_, i) => [Buffer.from(headers[2 * i]!), Buffer.from(headers[2 * i + 1]!)]),
        ),
        timestamp: BigInt(timestamp),
      })) as never,
      {},
    ).buffer
  fc.assert(
    fc.property(clientsOf, clientsOf, fc.array(fc.nat(100_000), { maxLength: 8 }), fc.nat(100_000), (one, two, cuts, missing) => {
      const [first, second] = [ofClient(one), ofClient(two)]
      const pieces = cut(Buffer.concat([first, second]), cuts)
      const batches = decodeBatches(pieces, compressionsAlgorithmsByBitmask)
      expect(batches.map(({ lastOffsetDelta }) => lastOffsetDelta)).toEqual([one.length - 1, two.length - 1])
      for (const [i, records] of [one, two].entries())
        expect(
          batches[i]!.records.map(({ offset, timestampMs, key, value, headers }) => [
            offset,
            timestampMs,
            shown(key),
            shown(value),
            headers,
          ]),
        ).toEqual(
          records.map(({ key, value, headers, timestamp }, offset) => [
            offset,
            timestamp,
            shown(key),
            shown(value),
            headers.map((header) => String(Buffer.from(header))),
          ]),
        )
      const short = Buffer.concat([first, second.subarray(0, missing % second.length)])
      expect(decodeBatches([short], {})).toHaveLength(1)
    }),
  )
})

test('the broker may put its own time on all of them', () => {
  const batch = encoded([sample(1000), sample(3000)]) as Buffer
  batch.writeInt16BE(1 << 3, 21)
  expect(decodeBatches([batch], {})[0]!.records.map(({ timestampMs }) => timestampMs)).toEqual([3000, 3000])
})

test('one that says it has more records than it has is refused, and so is an older kind', () => {
  const batch = encoded([sample(1), sample(2)]) as Buffer
  batch.writeInt32BE(3, 57)
  expect(() => decodeBatches([batch], {})).toThrow(/ends before/)
  batch.writeInt8(1, 16)
  const good = encoded([sample(3)]) as Buffer
  expect(decodeBatches([good, batch], {})).toHaveLength(1)
  expect(() => decodeBatches([batch, good], {})).toThrow(expect.objectContaining({ code: 'unsupported' }))
})

test.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)('%s is read by the client, and by us', async (name) => {
  const records = [sample(1), sample(2)]
  const batch = await encoded(records, compressionsAlgorithms[name])
  expect(readRecordsBatch(Reader.from(batch)).records.map(({ value }) => String(value))).toEqual(['v', 'v'])
  const [read] = decodeBatches(cut(batch, [30, 70]), compressionsAlgorithmsByBitmask)
  expect(read!.records.map(({ value, headers }) => [String(value), headers])).toEqual(records.map(() => ['v', ['h', 'x']]))
  expect(() => decodeBatches([batch], {})).toThrow(/compressed/)
})

test('R12: a key or header of bytes that are no text is base64, and two that differ stay two', () => {
  const decoded = (key: Buffer, value: Buffer) => {
    const record = { topic: 't', partition: 0, key, value, headers: new Map([[Buffer.from('h'), value]]), timestamp: 1n }
    const [batch] = decodeBatches(createRecordsBatch([record] as never).buffers, {})
    return decodeRecord(batch!.records[0]!, 't', 0, '0:7')
  }
  // As Java writes a long.
  const [a, b] = [200, 201].map((n) => Buffer.from([0, 0, 0, 0, 0, 0, 0, n]))
  expect(decoded(a!, b!)).toMatchObject({ key: 'AAAAAAAAAMg=', headers: { h: 'AAAAAAAAAMk=' } })
  expect(decoded(b!, a!).key).not.toBe(decoded(a!, b!).key)
  const mark = Buffer.from('ключ \ufffd')
  expect(decoded(mark, mark)).toMatchObject({ key: 'ключ \ufffd', headers: { h: 'ключ \ufffd' } })
})

test('R12: a header is what stands there, whatever stood in others of its length', () => {
  // The first is read as '//78': so many letters that the length of the next name, 28, would be one of them.
  const headers = [Buffer.from([0xff, 0xfe, 0xfc]), Buffer.from('//7'), Buffer.from('7'), Buffer.from('8')]
  const names = ['a', 'b', 'n'.repeat(28), 'd']
  const record = {
    topic: 't',
    partition: 0,
    value: Buffer.from('v'),
    headers: new Map(names.map((name, i) => [Buffer.from(name), headers[i]])),
    timestamp: 1n,
  }
  const [batch] = decodeBatches(createRecordsBatch([record] as never).buffers, {})
  expect(batch!.records[0]!.headers).toEqual(['a', '//78', 'b', '//7', 'n'.repeat(28), '7', 'd', '8'])
})

function sample(timestamp: number): Sending {
  return { topic: 't', partition: 0, key: undefined, value: Buffer.from('v'), headers: ['h', 'x'], timestamp }
}
