import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

test('jobs that take long in all places but one leave that one to the others', async () => {
  await using bus = await connect('memory:')
  const end = Promise.withResolvers<void>()
  const got: unknown[] = []
  const work = await bus.subscribe('places', { group: 'g', concurrency: 8 }, async ({ body }) => {
    got.push(body)
    if (body === 'long') await end.promise
  })
  await bus.publishMany('places', Array(7).fill('long'))
  await expect.poll(() => work.status().running).toBe(7)
  for (let n = 0; n < 5; n++) await bus.publish('places', n)
  await expect.poll(() => got.slice(7)).toEqual([0, 1, 2, 3, 4])
  end.resolve()
})
