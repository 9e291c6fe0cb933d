import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream'
import type { Case } from '../cases.ts'
import type { Figures } from '../figures.ts'
import { warmOf } from '../sides/watch.ts'
import { natsBench } from './cli.ts'
import { fill } from './fill.ts'
import type { NatsPlace } from './place.ts'
import { stored, streamOf } from './stored.ts'

type NatsCase = Case<NatsPlace>

const ours = 'cozebus'

/** `scale`: of the messages of a whole run, so much; less to try something, or on a busy machine. */
export function natsCases(scale: number): Readonly<Record<string, NatsCase>> {
  const part = (count: number): number => Math.max(10, Math.round(count * scale))
  return {
    'publish-128': publish(128, part(200_000), part(40_000)),
    'publish-1024': publish(1024, part(100_000), part(20_000)),
    'publish-many': publishMany(part(200_000)),
    subscribe: subscribe(part(200_000)),
  }
}

const kindOf = {
  async: 'JetStream asynchronous publisher',
  fast: 'JetStream fast batch publisher',
  sync: 'JetStream synchronous publisher',
} as const

const batched =
  (
    kind: keyof typeof kindOf,
    count: number,
    size: number,
    options: readonly string[],
    ids: boolean,
  ): ((place: NatsPlace, round: number) => Promise<Figures>) =>
  (place) =>
    stored(place, { count, ids, made: true }, async (topic) => {
      const args = ['js', 'pub', kind, topic, '--stream', streamOf(topic), '--size', `${size}`, ...options]
      const { p50, p99, p999, ...whole } = await natsBench(place.url, kindOf[kind], count, args)
      // The times of a batch are no times of a message.
      return kind === 'sync' ? { ...whole, p50, p99, p999 } : whole
    })

const published =
  (name: string, count: number, more: object = {}) =>
  (place: NatsPlace): Promise<Figures> =>
    stored(place, { count: count + warmOf(count), ids: true, made: false }, (topic) => place.side('ours', name, { topic, count, ...more }))

function publish(size: number, count: number, slow: number): NatsCase {
  const dedup = 'nats bench async --dedup'
  const plain = 'nats bench async'
  return {
    title: `publish, 1000 outstanding, ${size} B`,
    sides: {
      [ours]: published('publish', count, { size }),
      [dedup]: batched('async', count, size, ['--batch', '1000', '--dedup'], true),
      [plain]: batched('async', count, size, ['--batch', '1000'], false),
      'nats.js': (place) =>
        stored(place, { count: slow + warmOf(slow), ids: true, made: true }, (topic) =>
          place.side('raw', 'publish', { topic, count: slow, size }),
        ),
      'nats.go': (place) =>
        stored(place, { count, ids: true, made: false, named: true }, (topic) => place.go('publish', { topic, group: '', count, size })),
    },
    goals: [
      { side: ours, against: dedup, metric: 'rate', atLeast: 1.2 },
      { side: ours, against: plain, metric: 'rate', atLeast: 0.9 },
      { side: ours, against: 'nats.js', metric: 'rate', atLeast: 5 },
      { side: ours, against: 'nats.js', metric: 'cpu', atMost: 0.25 },
    ],
  }
}

function publishMany(count: number): NatsCase {
  const fast = `${ours}, nats.fastIngest`
  const single = `${ours}, publish`
  return {
    title: 'publishMany, 128 B, an outcome for each',
    sides: {
      [ours]: published('publishMany', count),
      [fast]: published('publishMany', count, { fastIngest: true }),
      [single]: published('publish', count),
      'nats bench fast': batched('fast', count, 128, ['--batch', '500'], false),
    },
    goals: [
      { side: ours, against: single, metric: 'rate', atLeast: 1.3 },
      { side: fast, against: single, metric: 'rate', atLeast: 1.3 },
    ],
  }
}

function subscribe(count: number): NatsCase {
  const topic = 'taken'
  const stream = streamOf(topic)
  const all = async ({ jsm }: NatsPlace, durable: string): Promise<void> => {
    const { ack_floor: floor, num_pending: left } = await jsm.consumers.info(stream, durable)
    if (floor.stream_seq !== count || left !== 0) throw new Error(`${durable} acknowledged up to ${floor.stream_seq} of ${count}`)
  }
  return {
    title: 'subscribe, explicit acknowledgement, 64 at once, empty handler, 128 B',
    prepare: (place) => fill(place, topic, count),
    sides: {
      [ours]: async (place, round) => {
        const group = `ours-${round}`
        const figures = await place.side('ours', 'subscribe', { topic, group, count })
        await all(place, group)
        return figures
      },
      'nats bench consume': async (place, round) => {
        const durable = `bench-${round}`
        // As the bench makes its own, which it would find at its end in the next round.
        const own = { ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All, max_ack_pending: 500 }
        await place.jsm.consumers.add(stream, { durable_name: durable, ...own, inactive_threshold: 10e9 })
        const args = ['js', 'consume', '--stream', stream, '--consumer', durable, '--batch', '500']
        const figures = await natsBench(place.url, 'JetStream durable consumer (callback)', count, args)
        await all(place, durable)
        return figures
      },
      'nats.go': async (place, round) => {
        const group = `go-${round}`
        const figures = await place.go('consume', { topic: stream, group, count, size: 128 })
        await all(place, group)
        return figures
      },
    },
    goals: [
      { side: ours, against: 'nats bench consume', metric: 'rate', atLeast: 1 },
      { side: ours, against: 'nats.go', metric: 'rate', atLeast: 1 },
    ],
  }
}
