/** What may be measured of a side, and how the table calls it. */
export const metrics = {
  /** Messages a second. */
  rate: 'rate',
  /** Seconds of processor, user and system, for a million messages. */
  cpu: 'processor',
  /** Of resident memory at most, MB. */
  peak: 'MB',
  /** Of one message, ms. */
  p50: 'p50',
  p99: 'p99',
  p999: 'p99.9',
  /** Of the whole, ms. */
  took: 'ms',
  /** Resident memory in the last tenth of the messages, as many times that of the second tenth. */
  growth: 'growth',
} as const

export type Metric = keyof typeof metrics
export type Figures = Readonly<Partial<Record<Metric, number>>>
