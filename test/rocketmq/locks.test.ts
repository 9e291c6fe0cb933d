import fc from 'fast-check'
import { expect, test } from 'vitest'
import { beside } from '../../src/engines/rocketmq/beside.ts'
import type { Queue } from '../../src/engines/rocketmq/cluster.ts'
import { Departed } from '../../src/engines/rocketmq/departed.ts'
import type { Groups } from '../../src/engines/rocketmq/groups.ts'
import { Locks, mostMarked, rowOf, sinceRow } from '../../src/engines/rocketmq/locks.ts'

const queue: Queue = { id: 0, broker: { name: 'b', address: { host: 'h', port: 1 }, readQueues: 1, writeQueues: 1 } }

/** What a broker keeps of a group, and who has which lock. */
function broker() {
  const table = new Map<number, number>()
  const held = new Map<number, string>()
  const groups = {
    commit: async (_group: string, _topic: string, { id }: Queue, offset: number) => void table.set(id, offset),
    committed: async (_group: string, _topic: string, { id }: Queue) => table.get(id),
    lock: async (_group: string, _topic: string, queues: readonly Queue[], client: string) =>
      queues.filter(({ id }) => {
        if (!held.has(id)) held.set(id, client)
        return held.get(id) === client
      }),
    unlock: async (_group: string, _topic: string, queues: readonly Queue[], client: string) => {
      for (const { id } of queues) if (held.get(id) === client) held.delete(id)
    },
  } as unknown as Groups
  return { table, held, groups }
}

const [dead, alive, late] = ['00000000000c', '00000000000d', '00000000000e'] as const
const client = (owner: string): string => `m@${owner}@cozebus@aa@bb`

test('what is marked as settled is what is read, once, twice or with what was passed meanwhile, however far the queue is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(2 ** 40), fc.array(fc.nat(mostMarked - 1)), fc.nat(mostMarked - 1), async (place, ahead, again) => {
      const { table, groups } = broker()
      table.set(beside.epoch, 1)
      const settled = ahead.map((past) => place + past)
      const told = [...sinceRow(place, place - again), ...settled, ...settled.slice(0, again)]
      await new Locks(groups).markSettled('g', 't', queue, new Set(settled.map(rowOf)), told)
      const found = await new Locks(groups).readSettled('g', 't', queue, place)
      expect([...found].sort((a, b) => a - b)).toEqual([...new Set(settled)].sort((a, b) => a - b))
    }),
  )
})

test('a member that dies between its lock and the note of it does not keep the queue: who knew it frees it', async () => {
  const { held, groups } = broker()
  const departed = new Departed(0)
  departed.look([client(dead), client(alive)])
  await new Locks(groups).lock('g', 't', [queue], dead, new Departed(0))
  // Its claim is overwritten by who asks next.
  expect(await new Locks(groups).lock('g', 't', [queue], alive, departed)).toEqual([])
  departed.look([client(alive)])
  await new Locks(groups).bury('g', 't', [queue], departed, false)
  expect(held.size).toBe(0)
})

test('nor who came later, and saw nothing but its claim', async () => {
  const { held, groups } = broker()
  await new Locks(groups).lock('g', 't', [queue], dead, new Departed(0))
  const departed = new Departed(0)
  departed.look([client(late)])
  await new Locks(groups).lock('g', 't', [queue], late, departed)
  await new Locks(groups).bury('g', 't', [queue], departed, false)
  expect(held.size).toBe(0)
})

test('of an owner that is there nothing is freed', async () => {
  const { held, groups } = broker()
  const departed = new Departed(0)
  departed.look([client(dead), client(alive)])
  const locks = new Locks(groups)
  await locks.lock('g', 't', [queue], alive, departed)
  await locks.own('g', 't', queue, alive)
  departed.look([client(alive)])
  await locks.bury('g', 't', [queue], departed, false)
  expect(held.get(0)).toBe(alive)
})
