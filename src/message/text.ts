import { isUtf8 } from 'node:buffer'

/** A key or header of a foreign producer, who may write any bytes there: text, else base64. Two that differ stay two. */
export function textOf(bytes: Buffer): string {
  const text = bytes.toString()
  return text.includes('\ufffd') && !isUtf8(bytes) ? bytes.toString('base64') : text
}
