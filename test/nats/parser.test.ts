import { Parser } from '@nats-io/nats-core/internal'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { QuickParser } from '../../src/engines/nats/parser.ts'

/** What came, in order, as texts: some of it is read in place. */
function heard() {
  const events: string[] = []
  const message = ({ subject, sid, reply, size, hdr }: any, data: Uint8Array): void => {
    const text = (bytes: Uint8Array | undefined): string => (bytes === undefined ? '-' : Buffer.from(bytes).toString('latin1'))
    events.push(`${text(subject)} ${sid} ${text(reply)} ${hdr} ${size} ${text(data)}`)
  }
  const push = (event: any): void => {
    if (event.msg) message(event.msg, event.data)
    else events.push(`${event.kind} ${event.data ? Buffer.from(event.data) : ''}`)
  }
  return { events, message, client: new Parser({ push }) }
}

const subject = fc.constantFrom('a', 'docs.7.added', 'grüße.b', '_INBOX.abc.1-2')
const reply = fc.constantFrom('', ' $JS.ACK.jobs.g.1.2.3.1774425512123999999.5')
const body = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom('MSG a 1 0\r\n\r\n', '\r\n', '}').map((text) => Buffer.from(text)),
)
const message = fc
  .record({
    subject,
    reply,
    body,
    header: fc.constantFrom('', 'NATS/1.0\r\n\r\n', 'NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n'),
    sid: fc.nat(9999),
  })
  .map(({ subject, reply, body, header, sid }) => {
    const size = header.length + body.length
    const head = header === '' ? `MSG ${subject} ${sid}${reply} ${size}` : `HMSG ${subject} ${sid}${reply} ${header.length} ${size}`
    return Buffer.concat([Buffer.from(`${head}\r\n${header}`), body, Buffer.from('\r\n')])
  })
const other = fc
  .constantFrom(
    'PING\r\n',
    'PONG\r\n',
    '+OK\r\n',
    '-ERR \'Permissions Violation for Publish to "a"\'\r\n',
    'INFO {"server_id":"x"}\r\n',
    'msg a 1 2\r\nhi\r\n',
    'MSG\ta  1 \t2\r\nhi\r\n',
    'MSG a 1 2\nhi\r\n',
    'MSG a 1 2\r\nhi and more\r\n',
  )
  .map((text) => Buffer.from(text))

test('whatever comes, in whatever pieces, is read as the client reads it', () => {
  const stream = fc.array(fc.oneof({ weight: 4, arbitrary: message }, other), { maxLength: 30 }).map((parts) => Buffer.concat(parts))
  fc.assert(
    fc.property(stream, fc.array(fc.oneof(fc.integer({ min: 1, max: 120 }), fc.constant(5000)), { minLength: 1 }), (bytes, pieces) => {
      const theirs = heard()
      theirs.client.parse(bytes)
      const ours = heard()
      const quick = new QuickParser(ours.client as never, { processMsg: ours.message })
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = at + pieces[i % pieces.length]!
        // A copy, as each read of a socket has bytes of its own.
        quick.parse(Uint8Array.from(bytes.subarray(at, end)))
        at = end
      }
      expect(ours.events).toEqual(theirs.events)
    }),
    { numRuns: 2000 },
  )
})

test('what comes whole is read without the client, and what is wrong is told by it', () => {
  const { events, message } = heard()
  let asked = 0
  const counted = { parse: () => void asked++, state: 0, ma: { size: 0 }, msgBuf: undefined }
  new QuickParser(counted, { processMsg: message }).parse(Buffer.from('MSG a 1 2\r\nhi\r\nHMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n'))
  expect([events.length, asked]).toEqual([2, 0])
  for (const wrong of ['MSG a x 2\r\nhi\r\n', 'MSG a 1\r\n', 'HMSG a 1 15 14\r\nNATS/1.0\r\n\r\nhi\r\n', 'WHAT\r\n'])
    expect(() => new QuickParser(heard().client as never, { processMsg: message }).parse(Buffer.from(wrong)), wrong).toThrow('rror')
})
