import type { Msg } from '@nats-io/transport-node'
import { expect, test } from 'vitest'
import { blockOf, numbersIn, subjectTextOf } from '../../src/engines/nats/raw.ts'

const came = (subject: string, data = '', hdr = -1): Msg =>
  ({ _msg: { subject: Buffer.from(subject), hdr }, _rdata: Buffer.from(data), subject }) as unknown as Msg

test('the subject is that of the message, whatever the one before had', () => {
  for (const subject of ['docs.1', 'docs.1', 'docs.2', 'docs.22', '', 'größe.1', 'docs.1'])
    expect(subjectTextOf(came(subject))).toBe(subject)
})

test('a text stays as it was when the bytes that it was read from hold something else', () => {
  const msg = came('docs.3')
  expect(subjectTextOf(msg)).toBe('docs.3')
  ;(msg as unknown as { _msg: { subject: Buffer } })._msg.subject.write('jobs.2')
  expect(subjectTextOf(came('jobs.2'))).toBe('jobs.2')
  expect(subjectTextOf(came('docs.3'))).toBe('docs.3')
})

test('the header block, where there is one', () => {
  expect(blockOf(came('a', 'NATS/1.0\r\nx: ü\r\n\r\nbody', 19))).toBe('NATS/1.0\r\nx: ü\r\n\r\n')
  expect(blockOf(came('a', 'body'))).toBeUndefined()
})

test('a place and its use', () => {
  expect(numbersIn(came('_INBOX.x.0-1'), 9)).toEqual([0, 1])
  expect(numbersIn(came('_INBOX.x.1048575-1073741823'), 9)).toEqual([1048575, 1073741823])
})
