import { describe, expect, test } from 'vitest'
import {
  attemptsCounted,
  inOrder,
  nothingAfterLeaving,
  nothingChanged,
  nothingEarly,
  nothingLost,
  nothingRefusedDelivered,
  notRepeated,
  oneAtATime,
  report,
  type Violation,
} from '../../src/testing/checkers.ts'
import { type Entry, History } from '../../src/testing/history.ts'

/**
 * A history in short: `+a:k` publishes a under the key k, `=a` is confirmed, `?a` unknown; `>a:k@m` delivers to the
 * member m of the group g, `>>` as the second attempt, `.a@m` acknowledges, `!a@m` fails, `~a@m` was aborted; `-a` is refused, `^@m` has
 * closed, `#` is a restart.
 */
function history(text: string): History {
  const made = new History()
  for (const word of text.split(' ')) {
    const [, sign, id = '', , key, , member = 'm'] = /^(>>|.)(\w*)(:(\w+))?(@(\w+))?$/.exec(word)!
    const at = { id, group: 'g', member }
    if (sign === '+') made.add({ kind: 'invoke', id, key, topic: 't', digest: `bytes of ${id}` })
    else if (sign === '=') made.add({ kind: 'ok', id, duplicate: false })
    else if (sign === '?') made.add({ kind: 'unknown', id, error: '' })
    else if (sign === '-') made.add({ kind: 'fail', id, error: '' })
    else if (sign === '^') made.add({ kind: 'leave', member })
    else if (sign?.startsWith('>')) made.add({ kind: 'deliver', ...at, key, attempt: sign.length, at: 0, digest: `bytes of ${id}` })
    else if (sign === '#') made.add({ kind: 'restart', what: '' })
    else made.add({ kind: 'settle', ...at, how: sign === '.' ? 'ack' : sign === '!' ? 'fail' : 'aborted' })
  }
  return made
}

const all = (made: History): Violation[] => [
  ...nothingLost(made, ['g']),
  ...nothingChanged(made),
  ...oneAtATime(made),
  ...inOrder(made, ['g']),
  ...notRepeated(made),
  ...attemptsCounted(made, true),
  ...nothingAfterLeaving(made),
  ...nothingRefusedDelivered(made),
  ...nothingEarly(made),
]

describe('the checkers', () => {
  test.each([
    ['two keys side by side', '+a:k =a +b:l =b >a:k >b:l .b .a'],
    ['a failure, then the next of the key', '+a:k =a +b:k =b >a:k !a >>a:k .a >b:k .b'],
    ['unknown and never delivered', '+a ?a'],
    ['unknown and delivered', '+a ?a >a .a'],
    ['a run that lost its lease overlaps its successor', '+a:k =a >a:k@m >a:k@n .a@n ~a@m'],
    ['a run cut off by a restart, then again', '+a:k =a >a:k@m # >a:k@n .a@n'],
    ['acknowledged again after a restart', '+a =a >a .a # >a .a'],
    ['an aborted run is no attempt, and another member may have it', '+a =a >a@m ~a@m ^@m >a@n .a@n'],
    ['refused and gone', '+a -a'],
    ['no key, no order', '+a =a +b =b >b >a .b .a'],
  ])('find nothing in a good history: %s', (_, text) => {
    expect(all(history(text))).toEqual([])
  })

  test.each([
    ['R3', 'a confirmed message that nobody finished', '+a =a +b =b >a .a >b !b', 'never finished 1 confirmed'],
    ['R2', 'a message that nobody published', '>x .x', 'none was published'],
    ['R6', 'another key than it was published with', '+a:k =a >a:l .a', 'with the key l instead of k'],
    ['R6', 'two of a key at once', '+a:k =a +b:k =b >a:k@m >b:k@n .a@m .b@n', 'handled a and b of key k at once'],
    ['R6', 'the same one at once in two members', '+a:k =a >a:k@m >a:k@n .a@m .a@n', 'handled a and a'],
    ['R6', 'a later one first', '+a:k =a +b:k =b >b:k .b >a:k .a', 'finished b of key k before a'],
    ['R4', 'a failure that is not counted', '+a =a >a !a >a .a', 'as attempt 1, after 1 failures'],
    ['R4', 'an aborted run that is counted', '+a =a >a ~a >>a .a', 'as attempt 2, after 0 failures'],
    ['R1', 'a message that was refused', '+a -a >a .a', 'its publish was refused'],
    ['R9', 'one for a member that has closed', '+a =a ^@m >a@m .a@m', 'had closed'],
    ['R3', 'again after it was acknowledged', '+a =a >a .a >a .a', 'got a again'],
  ])('%s: %s is reported', (rule, _, text, says) => {
    const found = all(history(text))
    expect(found.map((violation) => violation.rule)).toContain(rule)
    expect(found.map((violation) => violation.text).join()).toContain(says)
  })

  test('R12: other bytes are reported', () => {
    const made = history('+a =a')
    made.add({ ...(history('>a').entries[0] as Entry & { kind: 'deliver' }), digest: 'others' })
    expect(nothingChanged(made)).toMatchObject([{ rule: 'R12' }])
  })

  test('R1: one that comes before its time is reported', () => {
    const made = new History()
    made.add({ ...(history('+a').entries[0] as Entry & { kind: 'invoke' }), notBefore: 5 })
    made.add(history('>a').entries[0] as Entry & { kind: 'deliver' })
    expect(nothingEarly(made)).toMatchObject([{ rule: 'R1', text: expect.stringContaining('5 ms before') }])
  })

  test('a dead letter is no loss', () => {
    expect(nothingLost(history('+a =a >a !a'), ['g'], new Set(['a']))).toEqual([])
  })

  test('a group that got nothing at all has lost everything', () => {
    expect(nothingLost(history('+a =a +b =b >a .a >b .b'), ['g', 'other'])).toMatchObject([{ rule: 'R3' }])
  })

  test('the report names rules and seed', () => {
    expect(() => report([{ rule: 'R6', text: 'why' }], 42)).toThrow('R6: why\n(seed 42)')
    expect(() => report([], 42)).not.toThrow()
  })
})
