import type { NatsOptions } from '../../src/engines/nats/options.ts'

/** What a side's process is told. */
export interface Work {
  /** The module of cozebus: the built one, as users have it. */
  readonly library: string
  readonly url: string
  /** Options of the engine. */
  readonly nats: Pick<NatsOptions, 'fastIngest' | 'jetstream' | 'replicas'>
  readonly topic: string
  /** Where messages of the topic are on the server. */
  readonly stream: string
  readonly group: string
  /** Messages. */
  readonly count: number
  /** Of a body, bytes. */
  readonly size: number
  /** Unresolved at once. */
  readonly window: number
  /** Keys that messages are published under, in turn. */
  readonly keys?: number
  readonly order?: 'key' | 'none'
  /** Keys, of those sent most, whose messages do not count. */
  readonly hot?: number
}
