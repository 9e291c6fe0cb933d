import type { NatsCase } from './place.ts'
import { benches, ours, publishes } from './sides.ts'
import { stored } from './stored.ts'

/** `slow`: how many messages of the client that takes longest. */
export function publish(size: number, count: number, slow: number): NatsCase {
  const dedup = 'nats bench async --dedup'
  const plain = 'nats bench async'
  return {
    title: `publish, 1000 outstanding, ${size} B`,
    sides: {
      [ours]: publishes('ours', 'publish', count, { size }),
      [dedup]: benches('async', count, size, ['--batch', '1000', '--dedup']),
      [plain]: benches('async', count, size, ['--batch', '1000']),
      'nats.js': publishes('raw', 'publish', slow, { size }),
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

export function publishCluster(size: number, count: number): NatsCase {
  const dedup = 'nats bench async --dedup'
  return {
    title: `publish, 1000 outstanding, ${size} B, three copies on three servers`,
    replicas: 3,
    sides: {
      [ours]: publishes('ours', 'publish', count, { size }),
      [dedup]: benches('async', count, size, ['--batch', '1000', '--dedup']),
      'nats bench async': benches('async', count, size, ['--batch', '1000']),
    },
    goals: [{ side: ours, against: dedup, metric: 'rate', atLeast: 1 }],
  }
}

export function publishMany(size: number, count: number): NatsCase {
  const fast = `${ours}, nats.fastIngest`
  const single = `${ours}, publish`
  return {
    title: `publishMany, an outcome for each, ${size} B`,
    sides: {
      [ours]: publishes('ours', 'publishMany', count, { size }),
      [fast]: publishes('ours', 'publishMany', count, { size, nats: { fastIngest: true } }),
      [single]: publishes('ours', 'publish', count, { size }),
      'nats bench fast': benches('fast', count, size, ['--batch', '500']),
    },
    goals: [
      { side: ours, against: single, metric: 'rate', atLeast: 1.3 },
      { side: fast, against: single, metric: 'rate', atLeast: 1.3 },
    ],
  }
}

export function publishOne(size: number, count: number): NatsCase {
  return {
    title: `publish, one at a time, each awaited, ${size} B`,
    sides: {
      [ours]: publishes('ours', 'publishOne', count, { size }),
      'nats.js': publishes('raw', 'publishOne', count, { size }),
      'nats bench sync': benches('sync', count, size),
    },
    goals: [
      { side: ours, against: 'nats.js', metric: 'rate', atLeast: 1 },
      { side: ours, against: 'nats bench sync', metric: 'rate', atLeast: 1 },
    ],
  }
}

export function publishKeys(size: number, count: number, keys: number): NatsCase {
  const without = `${ours}, no keys`
  return {
    title: `publish with ${keys} keys, 1000 outstanding, ${size} B`,
    sides: {
      [ours]: publishes('ours', 'publish', count, { size, keys }),
      [without]: publishes('ours', 'publish', count, { size }),
    },
    goals: [{ side: ours, against: without, metric: 'rate', atLeast: 0.7 }],
  }
}
