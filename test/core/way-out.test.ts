import type { StandardSchemaV1 } from '@standard-schema/spec'
import { expect, test } from 'vitest'
import { type BusError, connect, topic } from '../../src/index.ts'

/** Even numbers take the longer the smaller they are, odd ones no time: what was published last is ready first. */
const slow: StandardSchemaV1<number, number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const n = value as number
      const result = n === 4 ? { issues: [{ message: 'four' }] } : { value: n }
      return n % 2 !== 0 ? result : new Promise((resolve) => setTimeout(resolve, 30 - 3 * n, result))
    },
  },
}

test('R6: an asynchronous schema does not let a later message pass an earlier one', async () => {
  await using bus = await connect('memory:')
  const numbers = topic('numbers', { schema: slow, key: () => 'k' })
  const outcomes = await Promise.all(
    [0, 1, 2, 3, 4, 5, 6, 7].map((n) =>
      bus.publish(numbers, n).then(
        () => 'ok',
        (error) => (error as BusError).code,
      ),
    ),
  )
  expect(outcomes).toEqual(['ok', 'ok', 'ok', 'ok', 'invalid_message', 'ok', 'ok', 'ok'])
  expect((await bus.admin.browse(numbers)).messages.map(({ body }) => body)).toEqual([0, 1, 2, 3, 5, 6, 7])
})

test('R6: what is published while a definition is declared keeps its order', async () => {
  await using bus = await connect('memory:')
  const steps = topic('steps.{run}', { retention: { age: '1d' } })
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < 50; n++) {
    sent.push(bus.publish(steps.with({ run: 'a' }), n))
    if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(sent)
  expect((await bus.admin.browse(steps)).messages.map(({ body }) => body)).toEqual(Array.from({ length: 50 }, (_, n) => n))
})

test('R9: a handler may publish while the bus drains; what was handed in is confirmed, and nothing is taken after', async () => {
  const bus = await connect('memory:')
  let started = (): void => {}
  const running = new Promise<void>((resolve) => {
    started = resolve
  })
  let told: string | undefined
  await bus.subscribe('in', { group: 'g' }, async () => {
    started()
    await new Promise((resolve) => setTimeout(resolve, 50))
    told = (await bus.publish('out', 'result')).id
  })
  await bus.publish('in', 1)
  await running
  const late = bus.publish(topic('numbers', { schema: slow }), -20)
  await bus.close()
  expect(told).toBeDefined()
  await expect(late).resolves.toMatchObject({ topic: 'numbers' })
  await expect(bus.publish('in', 2)).rejects.toMatchObject({ code: 'closed' })
})
