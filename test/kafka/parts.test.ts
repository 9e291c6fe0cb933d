import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assign, decodeSaid, encodeSaid, type Member } from '../../src/engines/kafka/assigning.ts'
import { storageName, topicName } from '../../src/engines/kafka/names.ts'
import { checkKafkaOptions } from '../../src/engines/kafka/options.ts'
import type { Batch } from '../../src/engines/kafka/record-batch.ts'
import { recordsOf } from '../../src/engines/kafka/records.ts'
import { rangesOf, readMark, settledIn, within, writeMark } from '../../src/engines/kafka/settled.ts'
import { resolveTarget } from '../../src/engines/kafka/target.ts'
import { parseBrokers } from '../../src/engines/kafka/url.ts'
import { openEngine } from '../../src/engines/registry.ts'
import { privateTopic } from '../../src/topic/name.ts'

describe('names', () => {
  const token = fc.stringMatching(/^[A-Za-z0-9_\-:@+=~%$]{1,12}$/)
  const storage = fc.array(fc.oneof(token, fc.constant('*')), { minLength: 1, maxLength: 6 }).map((tokens) => tokens.join('.'))

  test('are of the letters Kafka takes, and are read back', () => {
    fc.assert(
      fc.property(storage, (name) => {
        expect(topicName(name)).toMatch(/^[A-Za-z0-9._-]{1,249}$/)
        expect(storageName(topicName(name))).toBe(name)
      }),
    )
  })

  test("Coze's are kept, and what is too long is cut and stays apart", () => {
    expect(topicName('opencoze_search_resource')).toBe('opencoze_search_resource')
    expect(topicName('docs.*.*')).toBe('docs...any...any')
    const long = ['a', 'b'].map((group) => topicName(privateTopic('x'.repeat(250), group)))
    expect(new Set(long).size).toBe(2)
    for (const name of long) {
      expect(name.length).toBeLessThanOrEqual(249)
      expect(storageName(name)).toBeUndefined()
    }
  })
})

test('what is settled past a gap is read as it was written, and anybody else writes there what he likes', () => {
  fc.assert(
    fc.property(fc.nat(1e9), fc.array(fc.boolean(), { maxLength: 300 }), (first, flags) => {
      const entries = [false, ...flags].map((settled, i) => ({ offset: first + i, settled }))
      const text = writeMark(first, { handed: first + entries.length + 7, settled: rangesOf(entries) })
      const { handed, settled } = readMark(first, text)
      expect(handed).toBe(first + entries.length + 7)
      for (const one of entries) expect(within(settled, one.offset)).toBe(one.settled)
      expect(settledIn(text)).toBe(flags.filter(Boolean).length)
    }),
  )
  const many = Array.from({ length: 10_000 }, (_, i) => ({ offset: i * 2, settled: i % 2 === 1 }))
  expect(Buffer.byteLength(writeMark(0, { handed: 20_000, settled: rangesOf(many) }))).toBeLessThanOrEqual(4096)
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((rest) => `c1:${rest}`),
      ),
      (text) => {
        within(readMark(0, text).settled, 5)
        expect(settledIn(text)).toBeGreaterThanOrEqual(0)
      },
    ),
  )
})

describe('a round of a group', () => {
  const lanes = { a: 'a', b: 'a', c: 'c' }
  const counts = new Map([
    ['a', 8],
    ['b', 8],
    ['c', 3],
  ])

  class Seat {
    readonly owned: Record<string, number[]> = {}
    readonly id: string
    constructor(id: string) {
      this.id = id
    }
    get member(): Member {
      return { id: this.id, topics: ['a', 'b', 'c'], said: decodeSaid(Buffer.from(encodeSaid({ lanes, filters: {}, owned: this.owned }))) }
    }
  }

  function round(seats: readonly Seat[]): boolean {
    const assignment = assign(
      seats.map(({ member }) => member),
      counts,
    )
    let again = false
    const hands = new Map<string, string>()
    for (const seat of seats) {
      const own = assignment.get(seat.id)!
      for (const topic of counts.keys()) {
        const before = seat.owned[topic] ?? []
        const now = own.get(topic) ?? []
        again ||= before.some((partition) => !now.includes(partition))
        seat.owned[topic] = now
        for (const partition of new Set([...before, ...now])) {
          const key = `${topic}/${partition}`
          // What one gives up in this round is nobody else's yet.
          expect(hands.get(key)).toBeUndefined()
          hands.set(key, seat.id)
        }
      }
    }
    return again
  }

  test('gives a partition to nobody while another has it, comes to rest, and shares evenly and together', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 12 }), (changes) => {
        const seats = new Map<number, Seat>()
        let made = 0
        for (const change of changes) {
          if (!seats.delete(change) || seats.size === 0) seats.set(change, new Seat(`m${made++}`))
          const present = [...seats.values()]
          let rounds = 0
          while (round(present)) expect(++rounds).toBeLessThan(4)
          for (const [topic, count] of counts) {
            const shares = present.map(({ owned }) => owned[topic]!.length)
            expect(shares.reduce((x, y) => x + y)).toBe(count)
            expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
          }
          for (const { owned } of present) expect(owned['a']!.toSorted()).toEqual(owned['b']!.toSorted())
        }
      }),
    )
  })

  test('topics of different sizes that share lanes: partitions whose keys may meet go to one member', () => {
    const sizes = new Map([
      ['a', 8],
      ['b', 6],
    ])
    const members = ['m1', 'm2'].map(
      (id): Member => ({ id, topics: ['a', 'b'], said: { lanes: { a: 'a', b: 'a' }, filters: {}, owned: {} } }),
    )
    const shared = assign(members, sizes)
    const owner = (topic: string, partition: number): string =>
      members.find(({ id }) => shared.get(id)!.get(topic)?.includes(partition))!.id
    for (let hash = 0; hash < 240; hash++) expect(owner('a', hash % 8)).toBe(owner('b', hash % 6))
  })

  test('what members of other clients say of themselves is nothing', () => {
    for (const text of ['', '{', 'null', '7', '{"cozebus":2}']) expect(decodeSaid(Buffer.from(text))).toBeUndefined()
  })
})

test('records of a transaction that was aborted are left out, those around it are not', () => {
  const batch = (firstOffset: number, producerId: number, attributes: number, count: number, key: Buffer | null = null): Batch => ({
    firstOffset,
    attributes,
    producerId: BigInt(producerId),
    lastOffsetDelta: count - 1,
    records: Array.from({ length: count }, (_, i) => ({
      offset: firstOffset + i,
      timestampMs: 5,
      key,
      value: Buffer.from('x'),
      headers: [],
      size: 10,
    })),
  })
  const transaction = 1 << 4
  const end = (firstOffset: number, abort: boolean): Batch =>
    batch(firstOffset, 7, transaction | (1 << 5), 1, Buffer.from([0, 0, 0, abort ? 0 : 1]))
  const batches = [
    batch(0, 1, 0, 2),
    batch(2, 7, transaction, 2),
    batch(4, 1, 0, 1),
    end(5, true),
    batch(6, 7, transaction, 1),
    end(7, false),
    batch(8, 1, 0, 1),
  ]
  const { records, next } = recordsOf(batches, [{ producerId: 7n, firstOffset: 2n }], 1)
  expect(records.map(({ offset }) => offset)).toEqual([1, 4, 6, 8])
  expect(next).toBe(9)
})

describe('addresses and options', () => {
  test('are read, or refused without a word of what is secret', () => {
    expect(parseBrokers('kafka://a,b:19092/')).toMatchObject({
      brokers: [
        { host: 'a', port: 9092 },
        { host: 'b', port: 19_092 },
      ],
      tls: false,
    })
    expect(parseBrokers('kafka+ssl://u%40x:p%3Aw@[::1]:1')).toMatchObject({
      brokers: [{ host: '::1', port: 1 }],
      tls: true,
      user: 'u@x',
      password: 'p:w',
    })
    for (const url of [
      'kafka://',
      'kafka://a:0',
      'kafka://a:b',
      'http://a',
      'kafka://secret@a',
      'kafka://u:secret@a b',
      'kafka://u:secret@a,kafka://u:secret@b',
    ])
      expect(() => parseBrokers(url)).toThrow(
        expect.objectContaining({ code: 'invalid_argument', message: expect.not.stringContaining('secret') }),
      )
  })

  test('an address of no engine is refused without a word of what is secret', async () => {
    for (const url of ['coze:secret@broker:9092', 'kafak://coze:secret@broker', 'coze:secret//x@broker'])
      await expect(openEngine(url, {})).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.not.stringContaining('secret'),
      })
  })

  test('a mechanism without a user is refused', () => {
    expect(() => resolveTarget('kafka://a', { mechanism: 'SCRAM-SHA-256' })).toThrow(/kafka\.user/)
  })

  test('an unknown option, or one of another kind, is named', () => {
    expect(() => checkKafkaOptions({ partitons: 3 } as object)).toThrow(/no option kafka.partitons/)
    expect(() => checkKafkaOptions({ partitions: 0 })).toThrow(/kafka.partitions must be a whole number/)
    expect(() => checkKafkaOptions({ tls: { cert: 'x' } })).toThrow(/go together/)
    expect(() => checkKafkaOptions({ password: 7 as unknown as string })).toThrow(/kafka.password must be a text/)
  })
})
