import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

test('a group on a pattern gets what topics hold that were there before it, and those that come later', async () => {
  await using bus = await connect('memory:')
  await bus.publish('many.a', 1)
  await bus.publish('many.b', 2)
  await bus.publish('few.a', 3)
  const got: string[] = []
  await bus.subscribe('many.>', { group: 'g' }, (message) => {
    got.push(`${message.topic} ${message.body}`)
  })
  await bus.publish('many.c', 4)
  await bus.publish('many.a', 5)
  await expect.poll(() => got.toSorted()).toEqual(['many.a 1', 'many.a 5', 'many.b 2', 'many.c 4'])
})

test('a group that begins with what is new misses nothing of a topic that appears later', async () => {
  await using bus = await connect('memory:')
  await bus.publish('many.a', 'old')
  const got: string[] = []
  await bus.subscribe('many.>', { group: 'g', from: 'new' }, (message) => {
    got.push(`${message.topic} ${message.body}`)
  })
  for (let i = 0; i < 20; i++) await bus.publish(`many.late${i}`, 'first')
  await bus.publish('many.a', 'new')
  await expect.poll(() => got.length).toBe(21)
  expect(got).not.toContain('many.a old')
})
