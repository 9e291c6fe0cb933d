import { isUtf8 } from 'node:buffer'

/** A key or header of a foreign producer, who may write any bytes there: text, else base64. Two that differ stay two. */
export function textOf(bytes: Buffer, from = 0, to = bytes.length): string {
  const text = bytes.toString('utf8', from, to)
  return text.includes('\ufffd') && !isUtf8(bytes.subarray(from, to)) ? bytes.toString('base64', from, to) : text
}
