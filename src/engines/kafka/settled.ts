/** The broker takes 4096 bytes beside an offset, unless it is told otherwise. */
const most = 4000
const begin = 'c1:'

/**
 * What is settled past the first that is not, as a text to commit beside the offset: whoever takes the partition over does
 * not repeat it. In turn so many that are not and so many that are, in base 36. What does not fit is repeated.
 */
export function writeSettled(first: number, entries: readonly { readonly offset: number; readonly settled: boolean }[]): string {
  let text = ''
  let at = first
  for (let i = 0; i < entries.length; ) {
    while (i < entries.length && !entries[i]!.settled) i++
    if (i === entries.length) break
    const from = entries[i]!.offset
    while (i < entries.length && entries[i]!.settled) i++
    const to = entries[i - 1]!.offset + 1
    const more = `${text === '' ? begin : ','}${(from - at).toString(36)},${(to - from).toString(36)}`
    if (text.length + more.length > most) break
    text += more
    at = to
  }
  return text
}

/** Whether an offset was settled by then. */
export function readSettled(first: number, metadata: string): (offset: number) => boolean {
  const ranges: (readonly [number, number])[] = []
  let at = first
  for (const [gap, run] of runs(metadata)) {
    ranges.push([at + gap, at + gap + run])
    at += gap + run
  }
  return (offset) => ranges.some(([from, to]) => offset >= from && offset < to)
}

/** How many are settled past the first that is not. */
export function settledIn(metadata: string): number {
  return runs(metadata).reduce((sum, [, run]) => sum + run, 0)
}

function runs(metadata: string): [number, number][] {
  const counts = metadata.startsWith(begin)
    ? metadata
        .slice(begin.length)
        .split(',')
        .map((text) => Number.parseInt(text, 36))
    : []
  // Of anybody's who writes something alike: it says nothing.
  if (!counts.every((count) => Number.isSafeInteger(count) && count >= 0)) return []
  return Array.from({ length: counts.length >> 1 }, (_, i) => [counts[2 * i]!, counts[2 * i + 1]!])
}
