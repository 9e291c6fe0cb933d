import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream'
import { Random } from '../../src/testing/random.ts'
import type { Case, Side } from '../cases.ts'
import { ended } from '../child.ts'
import { warmOf } from '../sides/watch.ts'
import { natsBench } from './cli.ts'
import { fill } from './fill.ts'
import type { NatsPlace } from './place.ts'
import { ofThree, ours } from './sides.ts'
import { stored, streamOf } from './stored.ts'

const topic = 'taken'
const stream = streamOf(topic)

export function subscribe(count: number): Case<NatsPlace> {
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
        await place.jsm.consumers.add(stream, { durable_name: durable, ...own })
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

export function latency(count: number): Case<NatsPlace> {
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

export const first: Case<NatsPlace> = {
  title: 'a process that loads the client, to its first message handled',
  prepare: (place) => fill(place, topic, 1),
  sides: {
    [ours]: ofThree(async (place, name) => (await place.side('ours-work', 'first', { topic, group: `ours-${name}` })).took!),
    'nats.js': ofThree(async (place, name) => (await place.side('raw-first', 'first', { stream, group: `raw-${name}` })).took!),
  },
  goals: [{ side: ours, against: 'nats.js', metric: 'took', atMost: 1.2 }],
}

export const help: Case<NatsPlace> = {
  title: '`cozebus --help`, from start to end',
  sides: {
    [ours]: ofThree((place) => timed([place.cli, '--help'])),
    'node, nothing': ofThree(() => timed(['--eval', '0'])),
  },
  goals: [{ side: ours, metric: 'took', atMost: 120 }],
}

async function timed(args: readonly string[]): Promise<number> {
  const begun = performance.now()
  await ended(process.execPath, args)
  return performance.now() - begun
}

/** Zipf: the second key half as often as the first, the third a third. What is not of the ten keys sent most is what counts first. */
export function skewed(count: number, keys: number): Case<NatsPlace> {
  const hot = 10
  const random = new Random(1)
  const chances: number[] = []
  for (let rank = 0, sum = 0; rank < keys; rank++) chances.push((sum += 1 / (rank + 1)))
  const ranks = Array.from({ length: count }, () => {
    const drawn = random.next() * chances.at(-1)!
    return chances.findIndex((chance) => drawn < chance)
  })
  const others = ranks.filter((rank) => rank >= hot).length
  const side =
    (order: 'key' | 'none', some: boolean): Side<NatsPlace> =>
    (place, round) =>
      place.side('ours-work', 'skewed', {
        topic,
        group: `${order}-${some}-${round}`,
        order,
        ...(some ? { count: others, hot } : { count, hot: 0 }),
      })
  const cold = `${ours}, order: key, all but ${hot} keys`
  const free = `${ours}, no order, all but ${hot} keys`
  const whole = `${ours}, order: key, all`
  const wholeFree = `${ours}, no order, all`
  return {
    title: `${count} messages of ${keys} keys, zipf, handlers of 1 ms, 64 at once`,
    prepare: (place) => fill(place, topic, count, (i) => `k${ranks[i]}`),
    sides: { [cold]: side('key', true), [free]: side('none', true), [whole]: side('key', false), [wholeFree]: side('none', false) },
    goals: [
      { side: cold, against: free, metric: 'rate', atLeast: 0.8 },
      { side: whole, against: wholeFree, metric: 'rate', atLeast: 0.8 },
    ],
  }
}

export function through(count: number): Case<NatsPlace> {
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
