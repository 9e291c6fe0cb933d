import { expect, test, vi } from 'vitest'
import { spy, testBus } from '../../src/testing/index.ts'

const retry = { attempts: 4, initial: 1, jitter: 'none' } as const

test('a spy records what its bus delivers, and fails when it is told to', async () => {
  await using bus = await testBus()
  const seen = spy<{ n: number }>()
  seen.failNext(new Error('outage'), 2)
  await bus.subscribe('jobs', { group: 'g', retry }, seen)
  await bus.publish('jobs', { n: 1 })
  const [message] = await seen.waitFor(1)
  expect(message!.body).toEqual({ n: 1 })
  expect(seen.runs.map(({ attempt, error }) => [attempt, (error as Error | undefined)?.message])).toEqual([
    [1, 'outage'],
    [2, 'outage'],
    [3, undefined],
  ])
})

test('a spy calls the handler it is put around, and records what that throws', async () => {
  await using bus = await testBus()
  const seen = spy<number>((message) => {
    if (message.body < 0) throw new Error('negative')
  })
  await bus.subscribe('jobs', { group: 'g', retry: { attempts: 1 } }, seen)
  for (const body of [-1, 2]) await bus.publish('jobs', body)
  expect((await seen.waitFor(1)).map(({ body }) => body)).toEqual([2])
  await vi.waitFor(async () => expect(await bus.admin.deadLetters('jobs', 'g').list()).toMatchObject([{ error: 'negative' }]))
  expect(seen.runs.filter((run) => run.error)).toMatchObject([{ message: { body: -1 } }])
})

test('waiting in vain says what there was', async () => {
  const seen = spy()
  await expect(seen.waitFor(2, 20)).rejects.toThrow('waited 20 for 2 messages; 0 were handled and 0 runs failed')
})
