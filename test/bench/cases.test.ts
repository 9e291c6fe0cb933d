import { expect, test } from 'vitest'
import { type Case, measure } from '../../bench/cases.ts'
import type { Figures } from '../../bench/figures.ts'
import { withPart } from '../../bench/page.ts'
import { runSection } from '../../bench/section.ts'
import { missedOf, table } from '../../bench/table.ts'

interface Place extends AsyncDisposable {
  readonly calls: string[]
}
const here = (): Place => ({ calls: [], [Symbol.asyncDispose]: async () => {} })

/** A side whose rounds give these rates, the first of which warms up. */
const side =
  (name: string, rates: readonly number[]) =>
  async ({ calls }: Place, round: number): Promise<Figures> => {
    calls.push(name)
    return { rate: rates[round], cpu: undefined }
  }

const ratio: Case<Place> = {
  title: 'two sides',
  sides: { ours: side('ours', [1, 200, 100, 900]), theirs: side('theirs', [1000, 100, 100, 300]) },
  goals: [
    { side: 'ours', against: 'theirs', metric: 'rate', atLeast: 2 },
    { side: 'ours', against: 'theirs', metric: 'rate', atLeast: 2.5 },
    { side: 'theirs', metric: 'rate', atMost: 99 },
  ],
}

test('sides alternate, the first round does not count, and a goal is judged by the middle of the rounds’ ratios', async () => {
  const place = here()
  const { sides, goals, rounds } = await measure(ratio, place, 3)
  expect(place.calls).toEqual(['ours', 'theirs', 'theirs', 'ours', 'ours', 'theirs', 'theirs', 'ours'])
  expect(rounds).toBe(3)
  expect(sides['ours']).toEqual({ rate: { median: 200, least: 100, most: 900, rounds: [200, 100, 900] } })
  expect(goals.map(({ value, met }) => [value.median, value.least, value.most, met])).toEqual([
    [2, 1, 3, true],
    [2, 1, 3, false],
    [100, 100, 300, false],
  ])
})

test('a case of one round has no other, and prepares before it', async () => {
  const place = here()
  const once: Case<Place> = {
    title: 'once',
    once: true,
    prepare: async ({ calls }) => void calls.push('prepare'),
    sides: { ours: side('ours', [1, 2]) },
    goals: [],
  }
  const { rounds, sides } = await measure(once, place, 5)
  expect(place.calls).toEqual(['prepare', 'ours'])
  expect([rounds, sides['ours']!.rate!.median]).toEqual([1, 2])
})

test('a goal about what a side did not measure is an error, not a goal that is met', async () => {
  const without: Case<Place> = { ...ratio, goals: [{ side: 'ours', metric: 'peak', atMost: 150 }] }
  await expect(measure(without, here(), 1)).rejects.toThrow("'ours' has no peak")
})

test('the table shows each side, and what was missed as missed', async () => {
  const report = await runSection({ about: 'a server', start: async () => here(), cases: { ratio, other: ratio } }, 3, ['ratio'])
  expect(table(report).split('\n').slice(2)).toEqual([
    '| case | side | messages a second | s of processor a million | MB | ms: p50, p99, p99.9 | goals |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    '| **ratio**: two sides | ours | 0.2 k (0.1 k to 0.9 k) |  |  |  | rate 2.00 × (1.00 × to 3.00 ×) of theirs, at least 2: met<br>rate 2.00 × (1.00 × to 3.00 ×) of theirs, at least 2.5: **missed** |',
    '|  | theirs | 0.1 k (0.1 k to 0.3 k) |  |  |  | rate 100.0 (100.0 to 300.0), at most 99: **missed** |',
    '',
    'Missed, of 3 goals:',
    '',
    '- ratio, ours: rate 2.00 × (1.00 × to 3.00 ×) of theirs, at least 2.5: **missed**',
    '- ratio, theirs: rate 100.0 (100.0 to 300.0), at most 99: **missed**',
  ])
  expect(missedOf(report)).toHaveLength(2)
})

test('a part of a page is replaced between its marks, and nowhere else', () => {
  const page = 'before\n<!-- nats: npm run bench -->\nold\n<!-- end of nats -->\nafter\n'
  expect(withPart(page, 'nats', 'npm run bench', 'new\n')).toBe(page.replace('old', 'new'))
  expect(() => withPart(page, 'kafka', 'npm run bench', 'new')).toThrow('no place for kafka')
})
