/** The middle of the rounds and how far they lie apart. */
export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
  /** Each round's own, in turn. */
  readonly rounds: readonly number[]
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[Math.floor(sorted.length / 2)]!, least: sorted[0]!, most: sorted.at(-1)!, rounds: values }
}
