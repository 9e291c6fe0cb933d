import type { NatsCase } from './place.ts'
import { ours } from './sides.ts'

/** Each asks the same responder, of nats.js; and ours one of ours. */
export function request(window: number, count: number, atLeast: number): NatsCase {
  return {
    title: `request and reply, ${window === 1 ? 'one at a time' : `${window} in flight`}, 128 B`,
    prepare: async (place) => {
      await place.serve('raw', 'respond', { topic: 'echo' })
      await place.serve('ours-live', 'respond', { topic: 'ours.echo' })
    },
    sides: {
      [ours]: (place) => place.side('ours-live', 'request', { topic: 'echo', count, window }),
      'nats.js': (place) => place.side('raw', 'request', { topic: 'echo', count, window }),
      [`${ours}, at both ends`]: (place) => place.side('ours-live', 'request', { topic: 'ours.echo', count, window }),
    },
    goals: [{ side: ours, against: 'nats.js', metric: 'rate', atLeast }],
  }
}

export function core(count: number): NatsCase {
  return {
    title: 'core publish to one subscriber, in one process, 128 B',
    sides: {
      [ours]: (place) => place.side('ours-live', 'core', { topic: 'live', count, nats: { jetstream: false } }),
      'nats.js': (place) => place.side('raw', 'core', { topic: 'live', count }),
    },
    goals: [{ side: ours, against: 'nats.js', metric: 'rate', atLeast: 1 }],
  }
}
