import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'

export const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`
export const thousands = (value: number): string => `${(value / 1000).toFixed(1)} k`
export const times = (ratio: number): string => `${ratio.toFixed(2)} ×`

/** Where it was measured. */
export const machine = (): string => `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model?.trim()}, ${process.platform}`

/** The page with this part replaced, which stands between the mark of the command that writes it and its end. @throws Error when the mark is not there */
export function withPart(page: string, part: string, command: string, text: string): string {
  const [begin, end] = [`<!-- ${part}: ${command} -->`, `<!-- end of ${part} -->`]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no place for ${part}`)
  return `${page.slice(0, from + begin.length)}\n${text.trimEnd()}\n${page.slice(to)}`
}

export function savePart(path: string, part: string, command: string, text: string): void {
  writeFileSync(path, withPart(readFileSync(path, 'utf8'), part, command, text))
}
