import { deflateSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { compress, decompress, readyForAll } from '../../src/engines/pulsar/compression.ts'
import { storageName, topicName } from '../../src/engines/pulsar/names.ts'
import { checkPulsarOptions, type PulsarOptions } from '../../src/engines/pulsar/options.ts'
import { parsePulsarUrl } from '../../src/engines/pulsar/url.ts'
import { BusError } from '../../src/errors.ts'

beforeAll(readyForAll)

describe('compressions of Pulsar', () => {
  const kinds = { lz4: 1, zlib: 2, zstd: 3, snappy: 4 } as const

  test('what is no such thing is an error of its own, and takes no more memory than a broker lets through', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(kinds)),
        fc.uint8Array({ maxLength: 400 }),
        fc.integer({ min: 0, max: 5000 }),
        (kind, bytes, size) => {
          try {
            expect(decompress(Buffer.from(bytes), kind, size).length).toBe(size)
          } catch (error) {
            expect(error).toBeInstanceOf(BusError)
          }
        },
      ),
      { numRuns: 3000 },
    )
    for (const kind of Object.values(kinds))
      expect(() => decompress(Buffer.from([0xf0, 1, 2, 3]), kind, 0xffff_fff0)).toThrow(/cannot be decompressed/)
  })

  test('more than it says is refused', () => {
    const bomb = Buffer.alloc(1_000_000)
    expect(() => decompress(deflateSync(bomb), kinds.zlib, 10)).toThrow(BusError)
    expect(() => decompress(zstdCompressSync(bomb), kinds.zstd, 10)).toThrow(BusError)
    const { kind, bytes } = compress(bomb, 'lz4')
    expect(() => decompress(Buffer.from(bytes), kind, 10)).toThrow(BusError)
  })

  test('what no compression makes smaller goes out as it is', () => {
    for (const compression of ['lz4', 'zlib', 'zstd'] as const) expect(compress(Buffer.from('x'), compression).kind).toBe(0)
  })

  test('snappy of the reference encoder is read', () => {
    // 11 bytes, one literal.
    expect(decompress(Buffer.from('0b2868656c6c6f20776f726c64', 'hex'), kinds.snappy, 11).toString()).toBe('hello world')
    // A literal whose length takes a byte of its own, and a copy of it.
    const long = Buffer.concat([
      Buffer.from('8801f03f', 'hex'),
      Buffer.alloc(64, 'x'),
      Buffer.from('fe0100', 'hex'),
      Buffer.from('1e0100', 'hex'),
    ])
    expect(decompress(long, kinds.snappy, 136).toString()).toBe('x'.repeat(136))
  })

  test('snappy whose lengths lead backwards is refused, and does not go round for ever', () => {
    expect(() => decompress(Buffer.from('0bfcfaffffff0000', 'hex'), kinds.snappy, 11)).toThrow(/cannot be decompressed/)
  })
})

describe('addresses of Pulsar', () => {
  const one = (url: string) => parsePulsarUrl(url)

  test('P6: one or many, with or without ports, with the scheme before each as in the guide', () => {
    const a = { host: 'a', port: 6650 }
    expect(one('pulsar://a')).toEqual({ secure: false, addresses: [a] })
    expect(one('pulsar://a:6650,b:7000')).toEqual({ secure: false, addresses: [a, { host: 'b', port: 7000 }] })
    expect(one('pulsar://a:6650,pulsar://b:6650')).toEqual({ secure: false, addresses: [a, { host: 'b', port: 6650 }] })
    expect(one('pulsar+ssl://a')).toEqual({ secure: true, addresses: [{ host: 'a', port: 6651 }] })
    expect(one('pulsar://[::1]:6650/')).toEqual({ secure: false, addresses: [{ host: '::1', port: 6650 }] })
  })

  test.each(['pulsar://', 'pulsar://a:0', 'pulsar://a:70000', 'pulsar://a,', 'pulsar://a/b', 'pulsar://a:x', 'http://a'])(
    '%s is none',
    (url) => {
      expect(() => one(url)).toThrow(
        expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('pulsar://127.0.0.1:6650') }),
      )
    },
  )

  test('a secret in it is refused and shown nowhere', () => {
    expect(() => one('pulsar://hidden@a:6650')).toThrow(/pulsar\.token/)
    expect(() => one('pulsar://hidden@a:6650')).not.toThrow(/hidden/)
    expect(() => one('other://hidden@a:6650')).not.toThrow(/hidden/)
  })
})

describe('options of Pulsar', () => {
  test.each([
    [{ token: '' }, /pulsar\.token/],
    [{ token: 7 }, /pulsar\.token/],
    [{ namespace: 'default' }, /pulsar\.namespace.*public\/default/],
    [{ admin: 'host:8080' }, /pulsar\.admin/],
    [{ compression: 'snappy' }, /pulsar\.compression/],
    [{ partitions: -1 }, /pulsar\.partitions/],
    [{ tls: { cert: 'a' } }, /pulsar\.tls\.cert and pulsar\.tls\.key go together/],
    [{ chunking: true }, /there is no option pulsar\.chunking/],
  ] as const)('%j', (options, message) => {
    expect(() => checkPulsarOptions(options as unknown as PulsarOptions)).toThrow(message)
  })
})

describe('names on Pulsar', () => {
  test('are read back, and Coze’s stay as they are', () => {
    expect(topicName('docs.*.*')).toBe('docs...any...any')
    expect(topicName('opencoze_search_resource')).toBe('opencoze_search_resource')
    for (const name of ['a', 'a.b', 'docs.*.added', 'x-partition-3', 'a.*', 'ä.ö', '_cozebus.replay.a b.c'])
      expect(storageName(topicName(name))).toBe(name)
  })

  test('two names are two topics', () => {
    const part = fc.stringMatching(/^(\*|[A-Za-z0-9_~:=@ -]{1,12})$/)
    const name = fc.array(part, { minLength: 1, maxLength: 40 }).map((parts) => parts.join('.'))
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(topicName(a)).toMatch(/^[A-Za-z0-9._-]{1,240}$/)
        expect(topicName(a) === topicName(b)).toBe(a === b)
        const back = storageName(topicName(a))
        if (back !== undefined) expect(back).toBe(a)
      }),
    )
  })
})
