import type { Msg } from '@nats-io/transport-node'

/** What the client's types leave out: a message as it lies in what came. Its own reading of a header block takes ten times as long. */
interface Raw {
  readonly _msg: { readonly subject: Uint8Array; readonly hdr: number }
  readonly _rdata: Uint8Array
}

const utf8 = new TextDecoder()
const rawOf = (msg: Msg): Raw => msg as unknown as Raw

/** The header block of a message of anybody's; undefined where it has none. */
export function blockOf(msg: Msg): string | undefined {
  const { _msg, _rdata } = rawOf(msg)
  return _msg.hdr > 0 ? utf8.decode(_rdata.subarray(0, _msg.hdr)) : undefined
}

let last: Uint8Array = new Uint8Array(0)
let lastText = ''

/** The subject of a message: mostly that of the one before. */
export function subjectTextOf(msg: Msg): string {
  const { subject } = rawOf(msg)._msg
  if (!areSame(subject, last)) {
    last = Uint8Array.from(subject)
    lastText = msg.subject
  }
  return lastText
}

function areSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** The two numbers that a subject ends with, as `12-345`, from this byte on. */
export function numbersIn(msg: Msg, from: number): readonly [number, number] {
  const { subject } = rawOf(msg)._msg
  let first = 0
  let i = from
  for (; i < subject.length && subject[i] !== 0x2d; i++) first = first * 10 + subject[i]! - 48
  let second = 0
  while (++i < subject.length) second = second * 10 + subject[i]! - 48
  return [first, second]
}
