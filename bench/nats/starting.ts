import { ended } from '../child.ts'
import { fill } from './fill.ts'
import type { NatsCase } from './place.ts'
import { ofThree, ours } from './sides.ts'
import { streamOf } from './stored.ts'

const topic = 'waiting'

export const first: NatsCase = {
  title: 'a process that loads the client, to its first message handled',
  prepare: (place) => fill(place, topic, 1),
  sides: {
    [ours]: ofThree(async (place, name) => (await place.side('ours-work', 'first', { topic, group: `ours-${name}` })).took!),
    'nats.js': ofThree(
      async (place, name) => (await place.side('raw-first', 'first', { stream: streamOf(topic), group: `raw-${name}` })).took!,
    ),
  },
  goals: [{ side: ours, against: 'nats.js', metric: 'took', atMost: 1.2 }],
}

export const help: NatsCase = {
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
