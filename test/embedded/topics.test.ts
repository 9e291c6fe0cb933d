import { expect, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { sleep, temporary } from './support.ts'

const count = 10_000

test('ten thousand topics: opened at once, published to, followed by a pattern, and idle', async () => {
  const url = `file:${temporary()}`
  const first = await connect(url)
  await Promise.all(Array.from({ length: count }, (_, i) => first.publish(`many.t${i}`, i)))
  await first.close()
  const opening = performance.now()
  await using bus = await connect(url)
  expect(performance.now() - opening).toBeLessThan(5000)
  expect((await bus.admin.topics()).length).toBe(count)
  const heard: number[] = []
  const live = await bus.subscribe('many.>', (message) => {
    heard.push(message.body)
  })
  await bus.publishMany('many.t9', [-1])
  await bus.publish('many.new', -2)
  await expect.poll(() => heard, { timeout: 5000 }).toEqual([-1, -2])
  await live.close()
  const got = new Set<number>()
  await bus.subscribe('many.*', { group: 'g' }, (message) => {
    got.add(message.body)
  })
  await expect.poll(() => got.size, { timeout: 60_000, interval: 50 }).toBe(count + 2)
  await bus.publish('many.t77', -3)
  await expect.poll(() => got.has(-3), { timeout: 5000 }).toBe(true)
  await sleep(500)
  const before = process.cpuUsage()
  await sleep(3000)
  const { user, system } = process.cpuUsage(before)
  expect((user + system) / 3_000_000).toBeLessThan(0.3)
}, 150_000)
