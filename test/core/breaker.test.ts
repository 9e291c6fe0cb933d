import { expect, test, vi } from 'vitest'
import { Breaker } from '../../src/deliver/breaker.ts'
import { connect, topic } from '../../src/index.ts'

const backoff = { initialMs: 1000, factor: 2, maxMs: 60_000, jitter: 'none' } as const

test('the first pause is the first step, however many runs were on when the breaker opened; each trial that fails doubles it', () => {
  const breaker = new Breaker({ failures: 3, backoff })
  const counted = ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => breaker.failed(id, 0))
  expect(counted).toEqual([true, true, true, false, false, false])
  expect(breaker.nextTrialAt).toBe(1000)
  breaker.failed('a', 1010)
  expect(breaker.nextTrialAt).toBe(3010)
  breaker.succeeded()
  expect(breaker.open).toBe(false)
})

test('R4: a handler that was on when the breaker opened, and takes long, does not keep the trials back', async () => {
  await using bus = await connect('memory:', { drain: 0 })
  const jobs = topic('jobs', { key: (name: string) => name })
  let away = true
  const handled: string[] = []
  const options = { group: 'g', concurrency: 4, retry: { initial: 1, jitter: 'none' }, breaker: { failures: 2, initial: 20 } } as const
  await bus.subscribe(jobs, options, (message) => {
    if (message.body === 'long') return new Promise(() => {})
    if (away) throw new Error('away')
    handled.push(message.body)
    return undefined
  })
  await bus.publishMany(jobs, ['long', 'a', 'b'])
  await vi.waitFor(() => expect(bus.status().subscriptions[0]).toMatchObject({ state: 'slowed', running: 1 }))
  away = false
  await vi.waitFor(() => expect(handled.toSorted()).toEqual(['a', 'b']), 5000)
})

test('a body that no handler saw does not close the breaker', async () => {
  await using bus = await connect('memory:')
  await bus.subscribe('jobs', { group: 'g', concurrency: 1, retry: { initial: '1h' }, breaker: { failures: 2 } }, () => {
    throw new Error('away')
  })
  await bus.publish('jobs', 'a')
  await bus.publish('jobs', Buffer.from('{'), { headers: { 'content-type': 'application/json' } })
  await bus.publish('jobs', 'b')
  await vi.waitFor(() => expect(bus.status().subscriptions[0]).toMatchObject({ state: 'slowed', deadLettered: 1 }), 5000)
})
