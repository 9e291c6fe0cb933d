import { expect, test } from 'vitest'
import { batch, entry, FakeBroker } from './fake-broker.ts'

const hour = 3_600_000
const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

test('what comes again and was done here costs no credit: what follows it comes too', async () => {
  const broker = new FakeBroker()
  for (const n of numbers(0, 8)) broker.log.push(entry(n))
  const { bodies } = await broker.join()
  await expect.poll(() => bodies).toEqual(numbers(0, 8))
  await expect.poll(() => broker.told.filter(({ command }) => command === 'ack').length).toBeGreaterThan(0)
  broker.restart()
  for (const n of numbers(8, 40)) broker.log.push(entry(n))
  await expect.poll(() => bodies).toEqual(numbers(0, 40))
})

test('nor while all credit is in use: what runs is taken for what it was', async () => {
  const broker = new FakeBroker()
  for (const n of numbers(0, 6)) broker.log.push(entry(n))
  const member = await broker.join({ order: 'topic' }, 2)
  member.works = ({ body }) => Number(Buffer.from(body).toString()) < 4
  await expect.poll(() => member.bodies).toEqual(numbers(0, 6))
  broker.restart()
  // The four that are done come first again.
  await expect.poll(() => broker.told.filter(({ command }) => command === 'subscribe').length).toBe(2)
  await new Promise((resolve) => setTimeout(resolve, broker.options.returnMs! * 2))
  expect(member.lost).toEqual([])
  expect(member.bodies).toEqual(numbers(0, 6))
})

test('what is not due yet is passed by, as far as there is room for it', async () => {
  const broker = new FakeBroker()
  const delayed = 1500
  for (const n of numbers(0, 30)) broker.log.push(entry(n, hour))
  broker.log.push(entry('now'))
  for (const n of numbers(30, delayed)) broker.log.push(entry(n, hour))
  broker.log.push(entry('later'))
  const { bodies } = await broker.join({ order: 'topic' })
  await expect.poll(() => bodies).toEqual(['now'])
  const allowed = (): number =>
    broker.told.filter(({ command }) => command === 'flow').reduce((sum, { fields }) => sum + (fields['messagePermits'] as number), 0)
  await expect.poll(allowed).toBeGreaterThanOrEqual(1000)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(allowed()).toBeLessThan(1000 + 30)
})

test('of batches larger than the credit the next one comes once one is done', async () => {
  const broker = new FakeBroker()
  for (let n = 0; n < 60; n += 20) broker.log.push(batch(numbers(n, n + 20)))
  const member = await broker.join({}, 4)
  await expect.poll(() => member.bodies).toEqual(numbers(0, 60))
})
