const stream = Buffer.from('{"stream":"')
const seq = Buffer.from('"seq":')

/**
 * Of the answer that nearly all get: `{"stream":"…", "seq":…}`. 0 for any other: one of a failure does not begin so, one of a
 * duplicate does not end so.
 */
export function sequenceIn(answer: Uint8Array): number {
  let i = answer.length - 1
  if (answer[i] !== 0x7d) return 0
  let sequence = 0
  for (let scale = 1; isDigit(answer[--i]); scale *= 10) sequence += (answer[i]! - 48) * scale
  return holdsAt(answer, 0, stream) && holdsAt(answer, i + 1 - seq.length, seq) ? sequence : 0
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 48 && byte <= 57

function holdsAt(bytes: Uint8Array, from: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[from + i] !== text[i]) return false
  return true
}
