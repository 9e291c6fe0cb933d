/** The broker takes 4096 bytes beside an offset, unless it is told otherwise. */
export const mostBeside = 4000
const begin = 'c1:'

/** From an offset on, up to another that is not of it. */
export type Range = readonly [from: number, to: number]

/** What is known of a partition past the first message that is not settled. */
export interface Mark {
  /** Nothing from this offset on was handed to anybody. */
  readonly handed: number
  /** In their order. */
  readonly settled: readonly Range[]
}

/**
 * Committed beside the offset: how far messages may have been handed out, and which of those are settled, in turn so many
 * that are not and so many that are, in base 36. Whoever takes the partition over repeats nothing that is settled, and knows
 * what may have been in somebody's hand. Settled ones that do not fit are repeated.
 */
export function writeMark(first: number, { handed, settled }: Mark, most = mostBeside): string {
  let text = `${begin}${(handed - first).toString(36)}`
  if (handed <= first || text.length > most) return ''
  let at = first
  for (const [from, to] of settled) {
    const more = `,${(from - at).toString(36)},${(to - from).toString(36)}`
    if (text.length + more.length > most) break
    text += more
    at = to
  }
  return text
}

export function readMark(first: number, metadata: string): Mark {
  const { handed, runs } = parse(metadata)
  const settled: Range[] = []
  let at = first
  for (const [gap, run] of runs) {
    settled.push([at + gap, at + gap + run])
    at += gap + run
  }
  return { handed: first + handed, settled }
}

export function within(ranges: readonly Range[], offset: number): boolean {
  return ranges.some(([from, to]) => offset >= from && offset < to)
}

/** The settled ones of a list in the order of the log, `first` its first; what is not in the list is not in the log either. */
export function rangesOf(entries: readonly { readonly offset: number; readonly settled: boolean }[], first = 0): Range[] {
  const ranges: Range[] = []
  for (let i = first; i < entries.length; ) {
    while (i < entries.length && !entries[i]!.settled) i++
    if (i === entries.length) break
    const from = entries[i]!.offset
    while (i < entries.length && entries[i]!.settled) i++
    ranges.push([from, entries[i - 1]!.offset + 1])
  }
  return ranges
}

/** How many are settled past the first that is not. */
export function settledIn(metadata: string): number {
  return parse(metadata).runs.reduce((sum, [, run]) => sum + run, 0)
}

function parse(metadata: string): { handed: number; runs: [number, number][] } {
  const [handed = 0, ...counts] = metadata.startsWith(begin)
    ? metadata
        .slice(begin.length)
        .split(',')
        .map((text) => Number.parseInt(text, 36))
    : []
  // Of anybody's who writes something alike: it says nothing.
  if (![handed, ...counts].every((count) => Number.isSafeInteger(count) && count >= 0)) return { handed: 0, runs: [] }
  return { handed, runs: Array.from({ length: counts.length >> 1 }, (_, i) => [counts[2 * i]!, counts[2 * i + 1]!]) }
}
