import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream'
import type { Side } from '../cases.ts'
import type { Figures } from '../figures.ts'
import { warmOf } from '../sides/sending.ts'
import { natsBench } from './cli.ts'
import { fill } from './fill.ts'
import type { NatsCase, NatsPlace } from './place.ts'
import { ours } from './sides.ts'
import { stored, streamOf } from './stored.ts'

const topic = 'taken'
const stream = streamOf(topic)

export function subscribe(count: number): NatsCase {
  const all = async ({ jsm }: NatsPlace, durable: string): Promise<void> => {
    const { ack_floor: floor, num_pending: left } = await jsm.consumers.info(stream, durable)
    if (floor.stream_seq !== count || left !== 0) throw new Error(`${durable} acknowledged up to ${floor.stream_seq} of ${count}`)
  }
  const side =
    (name: string, take: (place: NatsPlace, group: string) => Promise<Figures>): Side<NatsPlace> =>
    async (place, round) => {
      const group = `${name}-${round}`
      const figures = await take(place, group)
      await all(place, group)
      return figures
    }
  const alone = 'its engine, without the core'
  return {
    title: 'subscribe, explicit acknowledgement, 64 at once, empty handler, 128 B',
    prepare: (place) => fill(place, topic, count),
    sides: {
      [ours]: side('ours', (place, group) => place.side('ours', 'subscribe', { topic, group, count })),
      [alone]: side('engine', (place, group) => place.side('engine', 'subscribe', { topic, group, count })),
      'nats bench consume': side('bench', async (place, group) => {
        // As the bench makes its own, which it would find at its end in the next round.
        const own = { ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All, max_ack_pending: 500 }
        await place.jsm.consumers.add(stream, { durable_name: group, ...own })
        const args = ['js', 'consume', '--stream', stream, '--consumer', group, '--batch', '500']
        return natsBench(place.url, 'JetStream durable consumer (callback)', count, args)
      }),
      'nats.go': side('go', (place, group) => place.go('consume', { topic: stream, group, count, size: 128 })),
    },
    goals: [
      { side: ours, against: 'nats bench consume', metric: 'rate', atLeast: 1 },
      { side: ours, against: 'nats.go', metric: 'rate', atLeast: 1 },
      { side: ours, against: alone, metric: 'cpu', atMost: 1.15 },
    ],
  }
}

export function latency(count: number): NatsCase {
  const side =
    (file: 'ours-work' | 'raw'): Side<NatsPlace> =>
    (place) =>
      stored(place, { count: count + warmOf(count), ids: true, made: file === 'raw' }, (topic) =>
        place.side(file, 'latency', { topic, stream: streamOf(topic), group: 'timed', count }),
      )
  return {
    title: 'publish to handler, 1000 messages a second, one process, 128 B',
    sides: { [ours]: side('ours-work'), 'nats.js': side('raw') },
    goals: [
      { side: ours, against: 'nats.js', metric: 'p50', atMost: 1.1 },
      { side: ours, against: 'nats.js', metric: 'p99', atMost: 1.1 },
    ],
  }
}

export function through(count: number): NatsCase {
  return {
    title: `${count} messages published and handled in one process, 128 B`,
    once: true,
    sides: { [ours]: (place) => place.side('ours-work', 'through', { topic, group: 'all', count }) },
    goals: [
      { side: ours, metric: 'peak', atMost: 150 },
      { side: ours, metric: 'growth', atMost: 1.1 },
    ],
  }
}
