import { afterEach, describe, expect, test, vi } from 'vitest'
import { fakeClock, spy, testBus } from '../../src/testing/index.ts'

const retry = { attempts: 8, initial: '2s', factor: 3, max: '10m', jitter: 'none' } as const

describe('a fake clock', () => {
  test.each(['none', 'key'] as const)('drives the retries of hours in no time, with order %s', async (order) => {
    using clock = fakeClock()
    await using bus = await testBus()
    const seen = spy()
    seen.failNext(new Error('outage'), 5)
    await bus.subscribe('jobs', { group: 'g', order, retry }, seen)
    const begun = Date.now()
    await bus.publish('jobs', 'x', { key: 'k' })
    await clock.advance('3m')
    expect(seen.runs.length).toBe(5) // after 0, 2, 8, 26 and 80 seconds; the sixth is due after 242
    await clock.advance('2m')
    expect(seen.messages.length).toBe(1)
    expect(Date.now() - begun).toBe(5 * 60_000)
  })

  test('drives delays', async () => {
    using clock = fakeClock()
    await using bus = await testBus()
    const seen = spy()
    await bus.subscribe('jobs', { group: 'g' }, seen)
    await bus.publish('jobs', 'later', { delay: '1h' })
    await clock.advance('59m')
    expect(seen.messages.length).toBe(0)
    await clock.advance('2m')
    expect(seen.messages.length).toBe(1)
  })

  test('drives the timeout of a handler', async () => {
    using clock = fakeClock()
    await using bus = await testBus()
    let aborted = 0
    await bus.subscribe('jobs', { group: 'g', timeout: '1m', retry: { attempts: 1 } }, (_message, { signal }) => {
      signal.addEventListener('abort', () => void aborted++)
      return new Promise(() => {})
    })
    await bus.publish('jobs', 'x')
    await clock.advance('59s')
    expect(aborted).toBe(0)
    await clock.advance('2s')
    expect(aborted).toBe(1)
    // It does not come back: its place is held for as long again.
    await clock.advance('1m')
    expect(bus.status().subscriptions[0]?.running).toBe(0)
  })

  test('is real again afterwards', async () => {
    const before = Date.now()
    {
      using clock = fakeClock()
      await clock.advance('1h')
    }
    expect(Date.now() - before).toBeLessThan(30 * 60_000)
    await new Promise((resolve) => setTimeout(resolve, 1))
  })
})

describe("vitest's own timers", () => {
  afterEach(() => void vi.useRealTimers())

  test('drive a test bus too', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] })
    await using bus = await testBus()
    const seen = spy()
    seen.failNext()
    await bus.subscribe('jobs', { group: 'g', retry }, seen)
    await bus.publish('jobs', 'x')
    for (let i = 0; i < 100; i++) {
      await vi.advanceTimersByTimeAsync(50)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(seen.messages.length).toBe(1)
  })
})
