import type { Side } from '../cases.ts'
import { warmOf } from '../sides/sending.ts'
import type { Work } from '../sides/work.ts'
import { spread } from '../spread.ts'
import { natsBench } from './cli.ts'
import type { NatsPlace } from './place.ts'
import { stored, streamOf } from './stored.ts'

export const ours = 'cozebus'

/** Publishes to a topic of its own, each message once and with an id. */
export const publishes =
  (file: 'ours' | 'raw', name: string, count: number, more: Partial<Work> = {}): Side<NatsPlace> =>
  (place) =>
    stored(place, { count: count + warmOf(count), ids: true, made: file === 'raw' }, (topic) =>
      place.side(file, name, { topic, count, ...more }),
    )

const called = {
  async: 'JetStream asynchronous publisher',
  fast: 'JetStream fast batch publisher',
  sync: 'JetStream synchronous publisher',
} as const

/** `nats bench js pub`, with or without ids. */
export const benches =
  (kind: keyof typeof called, count: number, size: number, options: readonly string[] = []): Side<NatsPlace> =>
  (place) =>
    stored(place, { count, ids: options.includes('--dedup'), made: true }, async (topic) => {
      const args = ['js', 'pub', kind, topic, '--stream', streamOf(topic), '--size', `${size}`, ...options]
      const { p50, p99, p999, ...whole } = await natsBench(place.url, called[kind], count, args)
      // The times of a batch are no times of a message.
      return kind === 'sync' ? { ...whole, p50, p99, p999 } : whole
    })

/** The middle one of three processes that do it, as one alone is soon unlucky. */
export const ofThree =
  (took: (place: NatsPlace, name: string) => Promise<number>): Side<NatsPlace> =>
  async (place, round) => {
    const all = [await took(place, `${round}-0`), await took(place, `${round}-1`), await took(place, `${round}-2`)]
    return { took: spread(all).median }
  }
