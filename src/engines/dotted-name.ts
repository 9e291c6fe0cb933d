import { createHash } from 'node:crypto'

const mark = '..'
const hashLength = 16

/**
 * `docs.*.*` → `docs...any...any`, in the letters `[A-Za-z0-9._-]`. A name of ours holds no two dots in a row, so that two of them
 * begin what is escaped; Coze's names stay as they are.
 */
export function dotted(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, (one) => (one === '*' ? `${mark}any` : escaped(one)))
}

/** One character, as {@link dotted} has those that it cannot keep. */
export const escaped = (one: string): string => mark + one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')

/** One too long is cut, with a hash of the whole name so that two of them stay two. */
export function cutTo(longest: number, text: string, whole: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - hashLength - 5)}${mark}cut${hashed(whole)}`
}

/** The name behind; undefined for one that was cut, which tells no more. */
export function undotted(text: string): string | undefined {
  if (/\.\.cut[0-9a-f]{16}$/.test(text)) return undefined
  return text.replace(/\.\.(any|[0-9A-F]{2})/g, (_, code: string) =>
    code === 'any' ? '*' : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

const hashed = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, hashLength)
