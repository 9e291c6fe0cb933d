// A few messages through the bench's own cases, from the sources: that they measure what they say, not how fast it is.
import { headers } from '@nats-io/transport-node'
import { expect, onTestFinished, test } from 'vitest'
import { fromSource } from '../../bench/built.ts'
import { measure } from '../../bench/cases.ts'
import { natsCases } from '../../bench/nats/cases.ts'
import { NatsPlace } from '../../bench/nats/place.ts'
import { stored } from '../../bench/nats/stored.ts'
import { goalText } from '../../bench/table.ts'
import { natsVersions } from '../rig/nats-server.ts'
import { describeNats } from '../rig/needs.ts'

function withId(id: string) {
  const own = headers()
  own.set('Nats-Msg-Id', id)
  return own
}

async function place(): Promise<NatsPlace> {
  const started = await NatsPlace.start(fromSource())
  onTestFinished(() => started[Symbol.asyncDispose]())
  return started
}

test('every goal is about sides of its case', () => {
  for (const { sides, goals } of Object.values(natsCases(0.001)))
    for (const { side, against } of goals) expect(Object.keys(sides)).toEqual(expect.arrayContaining([side, against ?? side]))
})

await describeNats(
  'the bench',
  () => {
    test.each(['publish-128', 'publish-one', 'subscribe'])(
      '%s measures ours and its peers, each of which leaves on the server what it should',
      async (name) => {
        const { sides, goals } = await measure({ ...natsCases(0.0005)[name]!, once: true }, await place(), 1)
        for (const side of Object.values(sides)) expect(side.rate!.median).toBeGreaterThan(0)
        expect(goals.length).toBeGreaterThan(0)
        for (const { value } of goals) expect(value.median).toBeGreaterThan(0)
      },
      120_000,
    )

    // Processor time against a peer in the same run: a machine with other work slows both. It is a fifth where nothing is amiss.
    test('publish takes less of the processor, message by message, than the client that it is built on', async () => {
      const { sides, ...publish } = natsCases(0.1)['publish-128']!
      const two = { ours: sides['cozebus']!, theirs: sides['nats.js']! }
      const goal = { side: 'ours', against: 'theirs', metric: 'cpu', atMost: 0.6 } as const
      const { goals } = await measure({ ...publish, sides: two, goals: [goal], once: true }, await place(), 1)
      expect(goals.map(goalText)).toEqual([expect.stringMatching(/: met$/)])
    }, 120_000)

    test('a side that leaves less than it should, or messages without ids, measures nothing', async () => {
      const here = await place()
      const publishing = (ids: boolean) => async (topic: string) => {
        await here.nc.request(topic, 'body', { timeout: 20_000, ...(ids && { headers: withId('a') }) })
        return { rate: 1 }
      }
      await expect(stored(here, { count: 2, ids: false, made: true }, publishing(false))).rejects.toThrow('has 1 messages, not 2')
      await expect(stored(here, { count: 1, ids: true, made: true }, publishing(false))).rejects.toThrow('has no id')
      await expect(stored(here, { count: 1, ids: false, made: true }, publishing(true))).rejects.toThrow('has the id a')
      await expect(stored(here, { count: 1, ids: true, made: true }, publishing(true))).resolves.toEqual({ rate: 1 })
    })
  },
  natsVersions.slice(0, 1),
)
