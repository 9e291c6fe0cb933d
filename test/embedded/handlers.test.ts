import { fork } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { sleep, temporary } from './support.ts'

test('a handler that blocks its process past its lease loses the message to another, hears of it, and its late result counts for nothing', async () => {
  const url = `file:${temporary()}`
  const child = fork(new URL('./blocking.ts', import.meta.url), [url], { execArgv: [] })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  await once(child, 'message')
  await using bus = await connect(url)
  const began = once(child, 'message')
  await bus.publish('heavy', 1, { id: 'one' })
  const [{ fence }] = await began
  const ended = once(child, 'message')
  const taken: { fence: number; attempt: number; blocked: boolean }[] = []
  let over = false
  void ended.then(() => {
    over = true
  })
  let finish = (): void => {}
  await bus.subscribe('heavy', { group: 'g', lease: '10s' }, async (_, { fence, attempt }) => {
    taken.push({ fence, attempt, blocked: !over })
    await new Promise<void>((resolve) => {
      finish = resolve
    })
  })
  await expect.poll(() => taken.length, { timeout: 10_000 }).toBe(1)
  expect(taken[0]).toMatchObject({ attempt: 1, blocked: true })
  expect(taken[0]!.fence).toBeGreaterThan(fence)
  expect((await ended)[0]).toMatchObject({ ended: 'one', aborted: true, reason: expect.stringContaining('lost') })
  // The blocked one has returned without an error, and that settles nothing: the message is still the other's.
  await sleep(300)
  expect(await bus.admin.lag('heavy', 'g')).toBe(1)
  const status = once(child, 'message')
  child.send('status')
  expect((await status)[0].status).toMatchObject({ handled: 0, lost: 1, inHand: 0 })
  finish()
  await expect.poll(() => bus.admin.lag('heavy', 'g'), { timeout: 5000 }).toBe(0)
  expect(taken.length).toBe(1)
}, 40_000)

test('a handler that never returns holds its own key and no other, and a drain hands the message back uncounted', async () => {
  const url = `file:${temporary()}`
  const bus = await connect(url, { drain: 300 })
  const done: unknown[] = []
  const aborted: unknown[] = []
  const handle = { group: 'g', order: 'key', concurrency: 2, lease: '1s' } as const
  const hanging = await bus.subscribe('hang', handle, async ({ body }, { signal }) => {
    if (body === 0) {
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      await new Promise(() => {})
    }
    done.push(body)
  })
  for (let i = 0; i < 9; i++) await bus.publish('hang', i, { key: `k${i % 3}` })
  await expect.poll(() => done.length, { timeout: 10_000 }).toBe(6)
  // Longer than its lease: it is still extended, and nobody else gets it.
  await sleep(1500)
  expect(done).toEqual([1, 2, 4, 5, 7, 8])
  expect(hanging.status()).toMatchObject({ running: 1, parked: 2, lost: 0 })
  const closing = performance.now()
  await bus.close()
  expect(performance.now() - closing).toBeLessThan(5000)
  expect(aborted.length).toBe(1)
  await using next = await connect(url)
  const again: unknown[] = []
  await next.subscribe('hang', handle, ({ body }, { attempt }) => {
    again.push([body, attempt])
  })
  await expect.poll(() => again.length, { timeout: 10_000 }).toBe(3)
  expect(again).toEqual([
    [0, 1],
    [3, 1],
    [6, 1],
  ])
}, 40_000)
