import { expect, test } from 'vitest'
import { parseAck } from '../../src/engines/nats/delivery.ts'
import { sequenceIn } from '../../src/engines/nats/stored.ts'

const told = (text: string): number => sequenceIn(Buffer.from(text))

test('an answer that says nothing but where a message is stored is read as it is', () => {
  expect(told('{"stream":"jobs", "seq":1}')).toBe(1)
  expect(told('{"stream":"jobs","seq":9007199254740991}')).toBe(9007199254740991)
  expect(told('{"stream":"jobs","domain":"hub", "seq":120}')).toBe(120)
})

test('any other answer is left to be read as JSON', () => {
  for (const text of [
    '{"stream":"jobs", "seq":7,"duplicate": true}',
    '{"stream":"jobs","seq":0,"duplicate":true}',
    '{"stream":"jobs","seq":0}',
    '{"error":{"code":503,"err_code":10077,"description":"full"},"stream":"jobs","seq":0}',
    '{"error":{"code":503,"err_code":10077,"description":"full"},"stream":"jobs","seq":12}',
    '{"stream":"jobs","seq":5,"val":"5"}',
    '{"stream":"jobs", "seq":5, "batch":"b","count":10}',
    '{"stream":"jobs","seq": 5}',
    '{"seq":5}',
    '5}',
    '}',
    '',
  ])
    expect(told(text), text).toBe(0)
})

test('the reply of a message tells its place, with a domain and without', () => {
  const place = { delivered: 2, sequence: 1234567, consumerSequence: 89, atMs: 1774425512123 }
  expect(parseAck('$JS.ACK.jobs.group.2.1234567.89.1774425512123999999.5')).toEqual(place)
  expect(parseAck('$JS.ACK.hub.hash.jobs.group.2.1234567.89.1774425512123000000.0')).toEqual(place)
  expect(parseAck('$JS.ACK._.hash.jobs.group.2.1234567.89.1774425512123000001.17.random.more.tokens')).toEqual(place)
})

test('any other reply tells nothing', () => {
  for (const reply of [
    '',
    '_INBOX.a.1',
    '$JS.ACK',
    '$JS.ACK.',
    '$JS.ACK.jobs.group.2.1.1.1',
    '$JS.ACK.hub.jobs.group.2.1.1.17744.5',
    '$JS.FC.a.b.1.1.1.17744.5',
  ])
    expect(parseAck(reply), reply).toBeUndefined()
})
