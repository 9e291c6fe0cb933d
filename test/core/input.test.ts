import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type Bus, connect, type Message, topic } from '../../src/index.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-input-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

async function deliver(bus: Bus, body: unknown, options: { headers?: Record<string, string>; key?: string; id?: string } = {}) {
  const arrived = Promise.withResolvers<Message>()
  const work = await bus.subscribe('input', { group: `g${Math.random()}`.replace('.', ''), from: 'new' }, arrived.resolve)
  await bus.publish('input', body, options)
  const message = await arrived.promise
  await work.close()
  return message
}

test('a body that is transferred before it is sent, and a codec that gives no bytes, are refused', async () => {
  await using bus = await connect('memory:')
  const body = new Uint8Array([1, 2, 3])
  const sent = bus.publish('input', body)
  structuredClone(body, { transfer: [body.buffer] })
  await expect(sent).rejects.toMatchObject({ code: 'invalid_message', message: expect.stringContaining('transferred') })
  const textless = { contentType: 'text/plain', encode: (text: unknown) => text as Uint8Array, decode: (bytes: Uint8Array) => `${bytes}` }
  await expect(bus.publish(topic('texts', { codec: textless }), '{"a":1}')).rejects.toMatchObject({
    code: 'invalid_message',
    message: expect.stringContaining('Uint8Array'),
  })
})

for (const url of ['memory:', `file:${dir}`]) {
  const where = url.slice(0, url.indexOf(':'))

  test(`${where}: empty, 8 MiB and non-UTF-8 bodies arrive byte for byte`, async () => {
    await using bus = await connect(url)
    const large = new Uint8Array(8 * 1024 * 1024).map((_, i) => (i * 31) % 256)
    for (const bytes of [new Uint8Array(0), large, new Uint8Array([0xff, 0xfe, 0, 0xc0, 0x80])]) {
      const message = await deliver(bus, bytes)
      expect(Buffer.from(message.body).equals(bytes)).toBe(true)
      expect(Buffer.from(message.bytes).equals(bytes)).toBe(true)
    }
    for (const body of ['', null, [], {}, 0, false, 'ü \u0000 \ud83d\ude80 \ud800']) expect((await deliver(bus, body)).body).toEqual(body)
  })

  test(`${where}: unicode in headers and keys arrives as it was`, async () => {
    await using bus = await connect(url)
    const headers = { 'x-name': 'żółć 🚀', 'x-empty': '' }
    const message = await deliver(bus, 1, { headers, key: 'Schlüssel / 钥匙' })
    expect(message.key).toBe('Schlüssel / 钥匙')
    expect(message.headers).toMatchObject(headers)
  })
}

test.each<Record<string, string>>([
  { 'x-a': 'two\nlines' },
  { 'x-a': 'carriage\rreturn' },
  { 'x\na': '1' },
  { 'a b': '1' },
  { 'cozebus-id': '1' },
  { '': '1' },
])('headers %j are refused, and nothing is stored', async (headers) => {
  await using bus = await connect('memory:')
  await expect(bus.publish('a', 1, { headers })).rejects.toMatchObject({ code: 'invalid_message' })
  expect(await bus.admin.topics()).toEqual([])
})

test.each(['a b', '..', 'a..b', 'a.*', '*', '>', 'a.>', 'x'.repeat(300), '../../etc/passwd', 'a\nb', '', '_cozebus.x', 'a.{b}', 'ü'])(
  'topic %j is refused where one topic is meant',
  async (name) => {
    await using bus = await connect('memory:')
    await expect(bus.publish(name, 1)).rejects.toMatchObject({ code: 'invalid_topic' })
    await expect(bus.request(name, 1)).rejects.toMatchObject({ code: 'invalid_topic' })
    await expect(bus.kv(name)).rejects.toMatchObject({ code: 'invalid_topic' })
    expect(await bus.admin.topics()).toEqual([])
  },
)

test.each(['a b', '..', 'a..b', '', 'a.>.b', 'x'.repeat(300), 'a*', 'a\nb'])('pattern %j is refused', async (pattern) => {
  await using bus = await connect('memory:')
  await expect(bus.subscribe(pattern, { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'invalid_topic' })
  await expect(bus.subscribe(pattern, () => {})).rejects.toMatchObject({ code: 'invalid_topic' })
  await expect(bus.respond(pattern, { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'invalid_topic' })
})

test.each(['', 'a b', 'ü', 'a\nb', 'x'.repeat(129)])('id %j is refused', async (id) => {
  await using bus = await connect('memory:')
  await expect(bus.publish('a', 1, { id })).rejects.toMatchObject({ code: 'invalid_message' })
})

test.each(['a b', '', 'x'.repeat(300), 'a\nb', 'a/b'])('group %j is refused', async (group) => {
  await using bus = await connect('memory:')
  await expect(bus.subscribe('a', { group }, () => {})).rejects.toMatchObject({ code: 'invalid_argument' })
})
