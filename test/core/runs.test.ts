import { expect, test, vi } from 'vitest'
import { connect, topic } from '../../src/index.ts'
import { testBus } from '../../src/testing/index.ts'

const quick = { initial: 1, jitter: 'none' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('R5: a run that timed out sees its signal aborted whenever it looks', async () => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: () => 'k' })
  const ended: number[] = []
  await bus.subscribe(jobs, { group: 'g', timeout: 50, retry: quick }, async (_message, delivery) => {
    if (delivery.attempt === 1) while (!delivery.signal.aborted) await pause(5)
    ended.push(delivery.attempt)
  })
  await bus.publish(jobs, {})
  await vi.waitFor(() => expect(ended.toSorted()).toEqual([1, 2]), 5000)
})

test('R4: a retry gets the message as it was published, whatever the run before did to it', async () => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: () => 'k' })
  const bodies: unknown[] = []
  await bus.subscribe(jobs, { group: 'g', retry: quick }, (message) => {
    bodies.push(structuredClone(message.body))
    message.body.steps.push('taken')
    if (bodies.length === 1) throw new Error('again')
  })
  await bus.publish(jobs, { steps: [] })
  await vi.waitFor(() => expect(bodies).toEqual([{ steps: [] }, { steps: [] }]), 5000)
})

test.each([
  ['a handler', undefined],
  ['a batch handler', { size: 1, wait: 0 }],
])('R8: %s that hangs after its lease was lost gives its place back at the timeout', async (_, batch) => {
  await using bus = await testBus({ drain: 100 })
  const handled: number[] = []
  const hang = (body: number): unknown => {
    handled.push(body)
    return handled.length === 1 ? new Promise(() => {}) : undefined
  }
  const options = { group: 'g', concurrency: 1, timeout: 400 }
  if (batch) await bus.subscribe('jobs', { ...options, batch }, ([message]) => hang(message?.body))
  else await bus.subscribe('jobs', options, (message) => hang(message.body))
  await bus.publish('jobs', 1)
  await vi.waitFor(() => expect(handled).toEqual([1]))
  await bus.admin.deleteTopic('jobs')
  await vi.waitFor(() => expect(bus.status().subscriptions[0]).toMatchObject({ lost: 1, running: 1 }), 5000)
  await vi.waitFor(() => expect(bus.status().subscriptions[0]?.running).toBe(0), 5000)
})
