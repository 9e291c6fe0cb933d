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

const lz4 = { compression: 1, uncompressed_size: 10_000 }

test('what a missing package would read is left, with what to install; where no order is kept the rest is read', async () => {
  const broker = new FakeBroker()
  for (let n = 0; n < 3; n++) broker.log.push(batch(numbers(0, 100), lz4))
  for (const n of numbers(0, 20)) broker.log.push(entry(n))
  const member = await broker.join({}, 4)
  await expect.poll(() => member.bodies).toEqual(numbers(0, 20))
  expect(member.subscription.trouble).toContain('npm install lz4js')
  const acked = broker.told
    .filter(({ command }) => command === 'ack')
    .flatMap(({ fields }) => fields['message_id'] as { entryId: number }[])
  expect(Math.min(...acked.map(({ entryId }) => entryId))).toBe(3)
})

test('where order is kept nothing passes it', async () => {
  const broker = new FakeBroker()
  broker.log.push(entry(0), batch(numbers(0, 3), lz4), entry(1), entry(2))
  const member = await broker.join({ order: 'key' }, 20)
  await expect.poll(() => member.subscription.trouble).toContain('npm install lz4js')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(member.bodies).toEqual([0])
})

test('a batch that is broken, or encrypted, costs what the broker counted: what follows it comes', async () => {
  const broker = new FakeBroker()
  broker.log.push({ ...batch(numbers(0, 2), { num_messages_in_batch: 100 }), count: 100 })
  broker.log.push(batch(numbers(0, 100), { encryption_keys: [Buffer.from([0x0a, 1, 0x78, 0x12, 1, 0x79])] }))
  for (const n of numbers(0, 20)) broker.log.push(entry(n))
  const member = await broker.join({}, 4)
  await expect.poll(() => member.bodies.filter((body) => typeof body === 'number')).toEqual(numbers(0, 20))
  expect(member.bodies.length).toBe(21)
  expect(member.subscription.trouble).toContain('a batch that is none')
})

test('of batches larger than the credit the next one comes once one is done', async () => {
  const broker = new FakeBroker()
  for (let n = 0; n < 60; n += 20) broker.log.push(batch(numbers(n, n + 20)))
  const member = await broker.join({}, 4)
  await expect.poll(() => member.bodies).toEqual(numbers(0, 60))
})
