import { Random } from '../random.ts'
import { type Plan, workload } from '../workload.ts'
import type { Case } from './case.ts'

const drives = ['publish first', 'subscribe first'] as const
const shapes = [
  ['one member', { groups: 1, members: 1, drains: 0 }],
  ['competing members', { groups: 1, members: 3, drains: 1 }],
  ['several groups', { groups: 3, members: 2, drains: 1 }],
] as const

/** One workload in every shape, and one whose shape the seed draws. */
export const matrix: readonly Case[] = [
  ...drives.flatMap((drive) =>
    shapes.map(
      ([shape, rest]): Case => ({
        rule: 'R3',
        name: `${drive}, ${shape}: nothing lost, changed, repeated or out of order`,
        run: (h, seed) => workload(h, { drive, messages: 120, keys: 6, failing: 10, dying: 3, late: 20, restarts: 0, ...rest }, seed),
      }),
    ),
  ),
  {
    rule: 'R3',
    name: 'a random workload: groups, members, keys, failures, drains and restarts',
    run: (h, seed) => workload(h, randomPlan(new Random(seed)), seed),
  },
]

function randomPlan(random: Random): Plan {
  return {
    drive: random.pick(drives),
    groups: 1 + random.below(3),
    members: 1 + random.below(3),
    messages: 100 + random.below(200),
    keys: random.below(12),
    failing: random.below(20),
    dying: random.below(5),
    late: random.below(40),
    drains: random.below(3),
    restarts: random.below(2),
  }
}
