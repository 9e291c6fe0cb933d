import { expect, test } from 'vitest'
import { Finished } from '../../src/engines/rocketmq/finished.ts'
import type { WireMessage } from '../../src/engines/rocketmq/message.ts'
import { offsetOf, QueuePart } from '../../src/engines/rocketmq/queue-part.ts'

const message = (offset: number, unique = `u${offset}`, key?: string): WireMessage => ({
  topic: 't',
  queueId: 0,
  offset,
  bornMs: 1,
  storedMs: 1,
  reconsumeTimes: 0,
  properties: new Map([['UNIQ_KEY', unique], ...(key === undefined ? [] : [['SHARDING_KEY', key] as const])]),
  body: Buffer.from('x'),
  isTorn: false,
})

function partOf(settled: readonly number[]): QueuePart {
  const queue = { id: 0, broker: { name: 'b', address: { host: 'h', port: 1 }, readQueues: 1, writeQueues: 1 } }
  const source = { storage: 't', filter: undefined, lanes: 't', from: 'earliest' as const }
  const place = { topic: 't', group: 'g', queue, source, epoch: 1, offset: 0, settled: new Set(settled) }
  return new QueuePart(place, 0, new Finished(), ({ key }) => key)
}

function handOut(part: QueuePart): number | undefined {
  const delivery = part.next(1)
  if (delivery === undefined) return undefined
  part.take(delivery)
  return offsetOf(delivery)
}

test('what an owner before settled stays settled while its successor writes of what lies before it', () => {
  const part = partOf([5])
  part.push(
    [0, 1, 2, 3, 4, 5, 6].map((offset) => message(offset)),
    7,
  )
  expect([handOut(part), handOut(part)]).toEqual([0, 1])
  part.ack(1)
  expect(part.settledOffsets()).toEqual([1, 5])
  expect([handOut(part), handOut(part), handOut(part), handOut(part)]).toEqual([2, 3, 4, 6])
  expect(part.settledOffsets()).toEqual([1, 5])
})

test('copies of one message are handed out once, and settled with it', () => {
  const part = partOf([])
  part.push([message(0), message(1, 'u0'), message(2)], 3)
  expect([handOut(part), handOut(part), handOut(part)]).toEqual([0, 2, undefined])
  part.ack(2)
  part.ack(0)
  expect(part.floor).toBe(3)
  part.push([message(3, 'u0')], 4)
  expect(handOut(part)).toBe(undefined)
  expect(part.floor).toBe(4)
})

test('a follower that was given back first waits for the one before it, also when the queue stays after all', () => {
  const part = partOf([])
  part.push([message(0, 'u0', 'k'), message(1, 'u1', 'k'), message(2, 'u2', 'other')], 3)
  expect([handOut(part), handOut(part)]).toEqual([0, 1])
  part.leavingUntil = 5
  part.release(1, 0)
  part.leavingUntil = undefined
  expect([handOut(part), handOut(part)]).toEqual([2, undefined])
  expect(part.dueAt()).toBe(Number.POSITIVE_INFINITY) // it is looked at again when that one is settled
  part.release(0, 0)
  expect([handOut(part), handOut(part)]).toEqual([0, 1])
})

test('what was purged is passed over, wherever it waits; what is in hand goes on', () => {
  const part = partOf([])
  part.push([message(0, 'u0', 'k'), message(1, 'u1', 'k'), message(2), message(3, 'u3', 'other'), message(4), message(5)], 6)
  expect([handOut(part), handOut(part), handOut(part), handOut(part)]).toEqual([0, 1, 2, 3])
  part.release(1, 50) // in a lane, behind one that is in hand
  part.release(2, 50) // in none
  part.passTo(5)
  expect(part.waiting).toBe(0)
  expect(part.dueAt()).toBe(Number.POSITIVE_INFINITY)
  expect([handOut(part), handOut(part)]).toEqual([5, undefined])
  expect(part.floor).toBe(0)
  expect(part.settledOffsets()).toEqual([1, 2, 4])
  for (const offset of [0, 3, 5]) part.ack(offset)
  expect(part.floor).toBe(6)
  // Nor what was not even read.
  part.passTo(9)
  part.push([message(6), message(7), message(8), message(9)], 10)
  expect([part.floor, handOut(part), handOut(part)]).toEqual([9, 9, undefined])
})
