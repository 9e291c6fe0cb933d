import { expect, test } from 'vitest'
import type { Outgoing, PublishOutcome } from '../../src/engines/engine.ts'
import { connect, topic } from '../../src/index.ts'
import { Outbox } from '../../src/publish/outbox.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('R6, R7: past lanes.parked nothing more is fetched, status says so, and it goes on when the lane does', async () => {
  await using bus = await connect('memory:')
  const jobs = topic('jobs', { key: ({ key }: { key: string }) => key })
  const gate = Promise.withResolvers<void>()
  const handled: string[] = []
  const work = await bus.subscribe(jobs, { group: 'g', concurrency: 2, lanes: { parked: 3 } }, async ({ body: { key } }) => {
    if (key === 'stuck') await gate.promise
    handled.push(key)
  })
  await bus.publishMany(
    jobs,
    Array.from({ length: 20 }, () => ({ key: 'stuck' })),
  )
  await expect.poll(() => work.status()).toMatchObject({ parked: 3, backpressure: true, running: 1, inHand: 4 })
  await bus.publish(jobs, { key: 'other' })
  await pause(200)
  expect(work.status()).toMatchObject({ parked: 3, backpressure: true, running: 1, inHand: 4 })
  expect(handled).toEqual([])
  gate.resolve()
  await expect.poll(() => handled.length).toBe(21)
  expect(work.status()).toMatchObject({ parked: 0, backpressure: false })
})

test('R7: no more bytes are in hand than lanes.bytes, and one message', async () => {
  await using bus = await connect('memory:')
  const gate = Promise.withResolvers<void>()
  let handled = 0
  const work = await bus.subscribe('jobs', { group: 'g', concurrency: 100, lanes: { bytes: 10_000 } }, async () => {
    await gate.promise
    handled++
  })
  await bus.publishMany('jobs', Array(50).fill(new Uint8Array(1000)))
  await expect.poll(() => work.status().running).toBeGreaterThanOrEqual(10)
  await pause(200)
  expect(work.status().inHand).toBeLessThanOrEqual(11)
  gate.resolve()
  await expect.poll(() => handled).toBe(50)
})

test('R7: no more than 64 MiB are unconfirmed, whatever the window of messages', async () => {
  const body = new Uint8Array(1024 * 1024)
  const unanswered: (() => void)[] = []
  let flying = 0
  let most = 0
  const outbox = new Outbox(
    {
      capabilities: { orderedPipelining: true, dedupeWindowMs: 0 },
      publish: async (batch): Promise<PublishOutcome[]> => {
        flying += batch.length
        most = Math.max(most, flying)
        await new Promise<void>((resolve) => unanswered.push(resolve))
        flying -= batch.length
        return batch.map(() => ({ ok: true, position: undefined, duplicate: false }))
      },
    },
    1000,
    undefined,
  )
  let confirmed = 0
  for (let i = 0; i < 200; i++)
    outbox.push({ storage: 's', body } as Outgoing, { signal: undefined, deadline: Number.POSITIVE_INFINITY }, () => confirmed++)
  await expect.poll(() => flying).toBe(64)
  await pause(50)
  while (confirmed < 200) {
    expect(flying).toBeGreaterThan(0)
    for (const answer of unanswered.splice(0)) answer()
    await pause(5)
  }
  expect(most).toBe(64)
})
