import { Random } from '../../src/testing/random.ts'
import type { Side } from '../cases.ts'
import { fill } from './fill.ts'
import type { NatsCase, NatsPlace } from './place.ts'
import { ours } from './sides.ts'

const topic = 'skewed'

/** Zipf: the second key half as often as the first, the third a third. What is not of the ten keys sent most is what counts first. */
export function skewed(count: number, keys: number): NatsCase {
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
    title: `${count} messages of ${keys} keys, zipf (${ranks.filter((rank) => rank === 0).length} of one, one after the other), handlers of 1 ms, 64 at once`,
    prepare: (place) => fill(place, topic, count, (i) => `k${ranks[i]}`),
    sides: { [cold]: side('key', true), [free]: side('none', true), [whole]: side('key', false), [wholeFree]: side('none', false) },
    goals: [
      { side: cold, against: free, metric: 'rate', atLeast: 0.8 },
      { side: whole, against: wholeFree, metric: 'rate', atLeast: 0.8 },
    ],
  }
}
