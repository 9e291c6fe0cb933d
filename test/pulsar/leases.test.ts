import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Delivery } from '../../src/engines/engine.ts'
import { entry, FakeBroker } from './fake-broker.ts'

/** A member that has one message in hand, of a lease that is over by now. */
async function late(standstill: () => unknown) {
  const broker = new FakeBroker()
  broker.log.push(entry('a'))
  const member = await broker.join({ order: 'key', leaseMs: 200 })
  let held: Delivery | undefined
  member.works = (delivery) => {
    held = delivery
    return false
  }
  await expect.poll(() => held).toBeDefined()
  await standstill()
  return { broker, member, delivery: held! }
}

test('R6: a process that stood still for longer than a lease has lost nothing by that', async () => {
  const { member, delivery } = await late(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500))
  // Before any timer tells how long it was.
  expect(await member.subscription.settle([{ kind: 'extend', delivery, leaseMs: 200 }])).toEqual(['confirmed'])
  await sleep(300)
  expect(member.lost).toEqual([])
})

test('R6: with order nothing goes to another member while this one is connected, though it is said late to be alive', async () => {
  const { broker, member, delivery } = await late(() => sleep(1500))
  expect(member.lost).toEqual([])
  expect(broker.told.filter(({ command }) => command === 'redeliver')).toEqual([])
  expect(await member.subscription.settle([{ kind: 'ack', delivery }])).toEqual(['confirmed'])
})
