import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { allocate } from '../../src/engines/rocketmq/allocating.ts'
import { Connection, Pool } from '../../src/engines/rocketmq/connection.ts'
import { decodeMessages, storedOf, type WireMessage } from '../../src/engines/rocketmq/message.ts'
import { groupName, groupOf, originalName, physicalName } from '../../src/engines/rocketmq/names.ts'
import { encodeFrame, type Frame, FrameParser, looseJson, ProtocolError } from '../../src/engines/rocketmq/protocol.ts'
import { fnv1a } from '../../src/engines/rocketmq/publishing.ts'
import { parseRocketmqUrl } from '../../src/engines/rocketmq/url.ts'
import { cut } from '../rig/pieces.ts'

/** A message as a broker sends it. */
function wireMessage(body: Buffer, properties: string, topic = 'docs', flags = 0): Buffer {
  const name = Buffer.from(topic)
  const text = Buffer.from(properties)
  const bytes = Buffer.alloc(88 + body.length + 1 + name.length + 2 + text.length)
  bytes.writeInt32BE(bytes.length, 0)
  bytes.writeUInt32BE(0xdaa320a7, 4)
  bytes.writeInt32BE(3, 12)
  bytes.writeBigInt64BE(17n, 20)
  bytes.writeInt32BE(flags, 36)
  bytes.writeBigInt64BE(1_700_000_000_000n, 40)
  bytes.writeInt32BE(body.length, 84)
  body.copy(bytes, 88)
  let at = 88 + body.length
  bytes.writeUInt8(name.length, at++)
  name.copy(bytes, at)
  at += name.length
  bytes.writeUInt16BE(text.length, at)
  text.copy(bytes, at + 2)
  return bytes
}

const frameOf = (opaque: number, body = Buffer.alloc(0)): Buffer => {
  const [head, tail] = encodeFrame(0, opaque, { a: 'b' }, body)
  return Buffer.concat([head, tail])
}

describe('frames', () => {
  test('in whatever pieces they come', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 8 }), fc.array(fc.nat(2000)), (bodies, cuts) => {
        const all = Buffer.concat(bodies.map((body, i) => frameOf(i, Buffer.from(body))))
        const found: Frame[] = []
        const parser = new FrameParser(10_000, (frame) => found.push(frame))
        for (const piece of cut(all, cuts)) parser.push(piece)
        expect(found.map(({ body }) => Buffer.from(body))).toEqual(bodies.map((body) => Buffer.from(body)))
        expect(found.map(({ opaque }) => opaque)).toEqual(bodies.map((_, i) => i))
      }),
    )
  })

  test('bytes that are none are an error of the protocol, and nothing else', () => {
    const tries = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      // A frame with some of its bytes changed.
      fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }).map((changes) => {
        const frame = frameOf(1, Buffer.from('body'))
        for (const [at, byte] of changes) frame[at % frame.length] = byte
        return new Uint8Array(frame)
      }),
    )
    fc.assert(
      fc.property(tries, (bytes) => {
        const parser = new FrameParser(1000, () => {})
        try {
          parser.push(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('one that says it is too long is refused before it is held', () => {
    const parser = new FrameParser(1000, () => {})
    expect(() => parser.push(Buffer.from([0x7f, 0xff, 0xff, 0xff]))).toThrow(ProtocolError)
  })

  test('keys of maps without quotes, as fastjson writes them', () => {
    expect(looseJson(Buffer.from('{"brokerAddrs":{0:"1.2.3.4:10911",1:"x"}}'))).toEqual({ brokerAddrs: { 0: '1.2.3.4:10911', 1: 'x' } })
    expect(() => looseJson(Buffer.from('{'))).toThrow(ProtocolError)
  })

  test('a signed request: the values in the order of their names, then the body', () => {
    const [head] = encodeFrame(310, 1, { b: 'topic', a: 'group' }, Buffer.from('body'), { accessKey: 'AK', secretKey: 'SK' })
    const header = JSON.parse(head.toString('utf8', 8)) as { extFields: Record<string, string> }
    // openssl: printf 'AKgrouptopicbody' | openssl dgst -sha1 -hmac SK -binary | base64
    expect(header.extFields).toEqual({ a: 'group', b: 'topic', AccessKey: 'AK', Signature: 'xZVdMcqSUPJoIXFM/f1N4DJM/Zw=' })
  })
})

describe('messages', () => {
  test('of anybody: an id from the client, headers but for those of RocketMQ', () => {
    const [message] = decodeMessages(
      wireMessage(Buffer.from('{}'), 'UNIQ_KEY\x01AB\x02TAGS\x01t\x02x-trace\x011\x02__SHARDINGKEY\x01k\x02'),
    )
    expect(storedOf(message!, 'docs', 'p')).toMatchObject({
      id: 'AB',
      name: 'docs',
      key: 'k',
      headers: { 'x-trace': '1' },
      at: 1_700_000_000_000,
    })
  })

  test('a body that cannot be inflated goes on as it is', () => {
    const [message] = decodeMessages(wireMessage(Buffer.from('no zlib'), '', 'docs', 1))
    expect(message!.body.toString()).toBe('no zlib')
  })

  test('broken ones are an error of the protocol, and nothing else', () => {
    const good = Buffer.concat([wireMessage(Buffer.from('one'), 'A\x01b\x02'), wireMessage(Buffer.from('two'), '')])
    const tries = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.nat(good.length).map((length) => good.subarray(0, length)),
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 5 }).map((changes) => {
        const bytes = Buffer.from(good)
        for (const [at, byte] of changes) bytes[at] = byte
        return bytes
      }),
    )
    fc.assert(
      fc.property(tries, (bytes) => {
        let found: WireMessage[] = []
        try {
          found = decodeMessages(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
        }
        for (const message of found) storedOf(message, 'docs', 'p')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('names', () => {
  const token = fc.stringMatching(/^[A-Za-z0-9_\-:@+=~%$]{1,12}$/)
  const storage = fc.array(fc.oneof(token, fc.constant('*')), { minLength: 1, maxLength: 5 }).map((tokens) => tokens.join('.'))

  test('hold letters that RocketMQ takes, and can be read back', () => {
    fc.assert(
      fc.property(storage, (name) => {
        const physical = physicalName(name)
        expect(physical).toMatch(/^[%|a-zA-Z0-9_-]{1,120}$/)
        expect(originalName(physical)).toBe(name)
      }),
    )
    expect(physicalName('opencoze_knowledge')).toBe('opencoze_knowledge')
    expect(physicalName('docs.*.*')).toBe('docs|%any|%any')
  })

  test('too long ones stay apart', () => {
    const [a, b] = ['a', 'b'].map((last) => physicalName(`${'x'.repeat(200)}${last}`))
    expect(a).not.toBe(b)
    expect(a!.length).toBe(120)
    expect(originalName(a!)).toBe(undefined)
  })

  test('a group is one for its topic and the replays of it, or as it is where others share it', () => {
    expect(groupName('indexer', 'docs.*', () => false)).toBe('indexer|docs|%any')
    expect(groupOf('indexer|docs|%any', 'docs.*')).toBe('indexer')
    expect(groupName('cg_knowledge', 'opencoze_knowledge', () => true)).toBe('cg_knowledge')
    expect(groupOf('cg_knowledge', 'opencoze_knowledge')).toBe('cg_knowledge')
  })
})

test('queues are divided as classic clients do it: each has one owner', () => {
  fc.assert(
    fc.property(fc.nat(40), fc.integer({ min: 1, max: 12 }), (queues, count) => {
      const members = Array.from({ length: count }, (_, i) => `m${String(i).padStart(2, '0')}`)
      const all = members.flatMap((member) => allocate(queues, members, member))
      expect(all.sort((a, b) => a - b)).toEqual(Array.from({ length: queues }, (_, i) => i))
    }),
  )
  expect(['a', 'b', 'c'].map((member) => allocate(8, ['a', 'b', 'c'], member))).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ])
})

test('a key is hashed as Go does it', () => {
  // hash/fnv's New32a.
  expect(fnv1a(Buffer.from(''))).toBe(0x811c9dc5)
  expect(fnv1a(Buffer.from('foobar'))).toBe(0xbf9cf968)
})

test('addresses', () => {
  expect(parseRocketmqUrl('rocketmq://a,b:1;[::1]:2')).toEqual([
    { host: 'a', port: 9876 },
    { host: 'b', port: 1 },
    { host: '::1', port: 2 },
  ])
  for (const wrong of ['rocketmq://', 'rocketmq://a:0', 'rocketmq://a/b', 'nsq://a'])
    expect(() => parseRocketmqUrl(wrong)).toThrow(/rocketmq:\/\//)
  expect(() => parseRocketmqUrl('rocketmq://ak:topsecret@host')).toThrow(
    expect.not.objectContaining({ message: expect.stringContaining('topsecret') }),
  )
})

describe('a connection', () => {
  async function server(answer: (socket: Socket, chunk: Buffer) => void): Promise<{ host: string; port: number }> {
    const listening: Server = createServer((socket) => socket.on('data', (chunk) => answer(socket, chunk)).on('error', () => {}))
    listening.listen(0, '127.0.0.1')
    await once(listening, 'listening')
    onTestFinished(() => void listening.close())
    return { host: '127.0.0.1', port: (listening.address() as { port: number }).port }
  }

  test('to what speaks another protocol ends with an error that says so', async () => {
    const connection = await Connection.open(await server((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')), {})
    await expect(connection.ask(105, {}, 'a topic')).rejects.toMatchObject({
      code: 'publish_unknown',
      message: expect.stringContaining('another protocol'),
    })
    expect(connection.open).toBe(false)
  })

  test('to one that is silent: what was asked is unknown after its time, and the next is refused', async () => {
    const connection = await Connection.open(await server(() => {}), { requestTimeoutMs: 200 })
    await expect(connection.ask(310, {}, 'a topic')).rejects.toMatchObject({ code: 'publish_unknown' })
    await expect(connection.ask(310, {}, 'a topic')).rejects.toMatchObject({ code: 'engine_unavailable' })
  })

  test('answers in any order, with garbage of no question between them', async () => {
    const connection = await Connection.open(
      await server((socket) => {
        for (const opaque of [99, 2, 1]) {
          const [head] = encodeFrame(0, opaque, {})
          const text = head.toString('utf8', 8).replace('"flag":0', '"flag":1')
          const out = Buffer.alloc(8 + text.length)
          out.writeUInt32BE(4 + text.length, 0)
          out.writeUInt32BE(text.length, 4)
          out.write(text, 8)
          socket.write(out)
        }
      }),
      {},
    )
    const answers = await Promise.all([connection.ask(1, {}, 'one'), connection.ask(2, {}, 'two')])
    expect(answers.map(({ opaque }) => opaque)).toEqual([1, 2])
    connection.end()
  })

  test('that cannot be made is not tried again at once', async () => {
    const pool = new Pool({ reconnectWaitMs: 10_000, reconnectMaxWaitMs: 10_000 })
    const address = { host: '127.0.0.1', port: 1 }
    const first = await pool.to(address).catch((error: unknown) => error)
    expect(await pool.to(address).catch((error: unknown) => error)).toBe(first)
    pool.close()
  })
})
