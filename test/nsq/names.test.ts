import fc from 'fast-check'
import { expect, test } from 'vitest'
import { unwrap, wrap } from '../../src/engines/nsq/envelope.ts'
import { Names } from '../../src/engines/nsq/names.ts'
import { parseNsqUrl } from '../../src/engines/nsq/url.ts'

const valid = /^[.a-zA-Z0-9_-]{1,64}$/

test('names that NSQ takes stay; a parameter is ANY; other characters are escaped; long ones end with a hash', () => {
  const names = new Names()
  const physical = (name: string): string => names.physical(name)
  expect(['opencoze_knowledge', 'docs.added', 'a-b_c.D9'].map(physical)).toEqual(['opencoze_knowledge', 'docs.added', 'a-b_c.D9'])
  expect(['coze.workflow.*.*', 'a.ANY', 'k:v@x', 'a-x41'].map(physical)).toEqual([
    'coze.workflow.ANY.ANY',
    'a.-x41NY',
    'k-x3av-x40x',
    'a-x2dx41',
  ])
  const long = `${'long.'.repeat(20)}end`
  expect(physical(long)).toMatch(/^long\.long\.[long.]+-[0-9a-f]{16}$/)
  expect(physical(long)).toHaveLength(64)
  expect(names.original(physical(long))).toBe(long)
  expect(physical(`${long}2`)).not.toBe(physical(long))
})

test('every name has one of its own, which NSQ takes, and any process reads a short one back', () => {
  const token = fc.oneof(fc.constantFrom('*', 'ANY', 'x41', '-x41', 'a-x2dx'), fc.stringMatching(/^[A-Za-z0-9_\-:@+=~%$]{1,12}$/))
  const name = fc.array(token, { minLength: 1, maxLength: 6 }).map((tokens) => tokens.join('.'))
  fc.assert(
    fc.property(name, name, (one, other) => {
      const physical = new Names().physical(one)
      expect(physical).toMatch(valid)
      if (one !== other) expect(new Names().physical(other)).not.toBe(physical)
      if (physical.length < 64) expect(new Names().original(physical)).toBe(one)
    }),
  )
})

const outgoing = fc.record({
  id: fc.stringMatching(/^[\x21-\x7e]{1,40}$/),
  name: fc.constantFrom('docs.7.added', 'plain'),
  key: fc.option(fc.string({ unit: 'binary', minLength: 1 }), { nil: undefined }),
  headers: fc.option(
    fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/), fc.string({ unit: 'grapheme' }), { minKeys: 1, noNullPrototype: true }),
    { nil: undefined },
  ),
  at: fc.integer({ min: 0, max: 4e12 }),
  body: fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.json().map((text) => Buffer.from(text)),
    fc.constantFrom(
      ...['', ' 1 ', '{"big":7621099543744036864}', '"a,\\"data\\":1"', '\ufeff{}', '{"a":1,"data":2}'].map((text) => Buffer.from(text)),
    ),
  ),
})

test('an envelope gives back what went in, to the byte, and is a CloudEvent in structured JSON', () => {
  fc.assert(
    fc.property(outgoing, (message) => {
      const bytes = wrap({ ...message, storage: 'docs.*.*' })
      const opened = unwrap(bytes)!
      const { id, name, key, headers, at } = message
      expect(opened.envelope).toEqual({ id, name, key, headers, at })
      expect(Buffer.from(opened.body).equals(Buffer.from(message.body))).toBe(true)
      const event = JSON.parse(bytes.toString()) as Record<string, unknown>
      expect(event).toMatchObject({ specversion: '1.0', id, type: name, source: 'cozebus:docs.*.*', time: new Date(at).toISOString() })
      // Attributes are lower case letters and digits, and hold text.
      for (const [attribute, value] of Object.entries(event))
        if (!attribute.startsWith('data_') && attribute !== 'data')
          expect([attribute, typeof value]).toEqual([attribute.replace(/[^a-z0-9]/g, ''), 'string'])
      expect('data' in event !== 'data_base64' in event).toBe(true)
    }),
  )
})

test('bytes that are no envelope of ours, cut or altered ones too, are a body', () => {
  fc.assert(
    fc.property(outgoing, fc.nat(), fc.nat(), fc.integer({ min: 0, max: 255 }), (message, cut, place, value) => {
      const bytes = wrap({ ...message, storage: 's' })
      unwrap(bytes.subarray(0, cut % bytes.length))
      bytes[place % bytes.length] = value
      unwrap(bytes)
    }),
  )
  for (const text of ['', '{', '{"specversion":"1.0","id":"1","source":"s","type":"t","data":{}}', 'no json'])
    expect(unwrap(Buffer.from(text))).toBeUndefined()
})

test('addresses: lists, ports that are usual, secrets; what is none says so and shows no secret', () => {
  expect(parseNsqUrl('nsq://a,b:4160')).toEqual({
    kind: 'nsqd',
    addresses: [
      { host: 'a', port: 4150 },
      { host: 'b', port: 4160 },
    ],
    secret: undefined,
  })
  expect(parseNsqUrl('nsq+lookup://s%40crt@[::1]')).toEqual({ kind: 'lookupd', addresses: [{ host: '::1', port: 4161 }], secret: 's@crt' })
  for (const url of ['nsq://', 'nsq://a:99999', 'nsq://a/path', 'nsq://a?x=1']) expect(() => parseNsqUrl(url)).toThrow(/host:port/)
  expect(() => parseNsqUrl('nsq://sesame@a b')).toThrow(/^(?!.*sesame)/)
})
