/** What a side's process is told. */
export interface Work {
  /** The module of cozebus: the built one, as users have it. */
  readonly library: string
  readonly url: string
  readonly topic: string
  readonly group: string
  /** Messages. */
  readonly count: number
  /** Of a body, bytes. */
  readonly size: number
  /** Keys that messages are published under, in turn. */
  readonly keys?: number
  /** Unresolved at once. */
  readonly window: number
  readonly order?: 'key' | 'none'
  readonly fastIngest?: boolean
}
