import { headers } from '@nats-io/transport-node'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeHeaders, headerText } from '../../src/engines/nats/headers.ts'
import { newId } from '../../src/message/id.ts'

/** As the client writes it. */
function given(pairs: Record<string, string>): string {
  const block = headers()
  for (const [name, value] of Object.entries(pairs)) block.set(name, value)
  return String(block)
}

test("an id that is numbered, as those of Coze's Go bus are by their key, is no id; a key that is a number is one", () => {
  expect(decodeHeaders(given({ 'Nats-Msg-Id': '7621099543744036864-0' }))).toMatchObject({ id: undefined, key: '7621099543744036864' })
  expect(decodeHeaders(given({ 'Nats-Msg-Id': 'order-17' }))).toMatchObject({ id: undefined, key: undefined })
  expect(decodeHeaders(given({ 'Nats-Msg-Id': '7-0', 'Sharding-Key': 'k' }))).toMatchObject({ id: undefined, key: 'k' })
})

test('any other id of a foreign producer is kept, and so is one of ours that looks numbered', () => {
  for (const id of ['abc', '2f1c1c1e-8c1b-4a55-9d3e-446655440000', 'a-b'])
    expect(decodeHeaders(given({ 'Nats-Msg-Id': id }))).toMatchObject({ id, key: undefined })
  const ours = given({ 'Nats-Msg-Id': 'order-17', 'cozebus-published-at': '1774425512123' })
  expect(decodeHeaders(ours)).toMatchObject({ id: 'order-17', key: undefined, at: 1774425512123 })
})

test('a UUIDv7 tells when its message was published; where it tells another time, or is none, a header does', () => {
  const at = Date.UTC(2026, 10, 30)
  const ids = [newId(at), newId(at), newId(at + 1), newId(at + 1)] as const
  const sent = (id: string): string => headerText({ id, key: undefined, headers: undefined, at })
  for (const id of [ids[0], ids[2], ids[1], ids[3], 'mine'])
    expect(sent(id).includes(`cozebus-published-at: ${at}`), id).toBe(id !== ids[0] && id !== ids[1])
  for (const [i, id] of ids.entries()) expect(decodeHeaders(given({ 'Nats-Msg-Id': id })).at).toBe(i < 2 ? at : at + 1)
  expect(decodeHeaders(given({ 'Nats-Msg-Id': 'mine' })).at).toBeUndefined()
})

test('whatever headers the client writes are read, the first value of each; those of the server are not', () => {
  const name = fc.stringMatching(/^[!-9;-~]{1,12}$/).filter((text) => !/^(Nats-|cozebus-|Sharding-Key$|__proto__$)/.test(text))
  const value = fc.string({ unit: 'grapheme' }).filter((text) => !/[\r\n]/.test(text))
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.oneof(name, fc.constantFrom('a', 'b')), value)), (pairs) => {
      const block = headers()
      for (const [name, value] of pairs) block.append(name, value)
      block.append('Nats-Expected-Stream', 'jobs')
      const first = new Map(pairs.toReversed().map(([name, value]) => [name, value.trim()]))
      expect(new Map(Object.entries(decodeHeaders(String(block)).headers ?? {}))).toEqual(first)
    }),
  )
})

test('a value with a line break, which a foreign producer may have given, begins no other header', () => {
  const value = 'a\r\nNats-Expected-Last-Sequence: 0'
  const text = headerText({ id: 'x', key: undefined, headers: { note: value }, at: 1 })
  expect(text).not.toContain('\nNats-Expected')
  expect(decodeHeaders(`${text}\r\n`).headers).toMatchObject({ note: value })
})

test('a block that is none, or that no client reads, gives nothing, and a line that is none is left out', () => {
  const none = { id: undefined, key: undefined, headers: undefined, at: undefined }
  for (const block of [undefined, '', 'NATS/1.0', 'NATS/1.0\r\n\r\n', 'NATS/1.0 503 No Responders\r\n\r\n'])
    expect(decodeHeaders(block), block).toEqual(none)
  for (const bad of ['a b: 1', 'ä: 1', 'a: 1\r2', 'a: 1\n2']) expect(decodeHeaders(`NATS/1.0\r\nx: 1\r\n${bad}\r\n\r\n`), bad).toEqual(none)
  expect(decodeHeaders('NATS/1.0\r\n\r\nno colon\r\nconstructor:  x: y \r\nlast:1')).toMatchObject({
    headers: { constructor: 'x: y', last: '1' },
  })
})
