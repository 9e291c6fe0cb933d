import { afterAll, beforeAll, expect, test } from 'vitest'
import { partitionOf } from '../../src/engines/nats/names.ts'
import { connect, Retry, topic } from '../../src/index.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

await describeNats('what a member asks for', (version) => {
  let server: NatsNode
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterAll(() => server.stop())

  test('messages without a key that wait for their next attempt do not keep others from coming', async () => {
    await using bus = await connect(server.url, { drain: 500 })
    const got: string[] = []
    await bus.subscribe('credit.keyless', { group: 'g', order: 'key', concurrency: 2 }, ({ body }) => {
      got.push(String(body))
      if (String(body).startsWith('bad')) throw new Retry({ after: '1h' })
    })
    for (let n = 0; n < 8; n++) {
      await bus.publish('credit.keyless', `bad${n}`)
      await expect.poll(() => got.length).toBe(n + 1)
    }
    await bus.publish('credit.keyless', 'good')
    await expect.poll(() => got).toContain('good')
  })

  test('what cannot begin behind a long job goes to a member that waits, whichever topic of a pattern it is of', async () => {
    await using busy = await connect(server.url, { drain: 500 })
    await using idle = await connect(server.url, { drain: 500 })
    const topics = Array.from({ length: 10 }, (_, n) => `credit.many.t${n}`)
    for (const name of topics) await busy.publish(name, 'first')
    const handled: unknown[] = []
    const end = Promise.withResolvers<void>()
    await busy.subscribe('credit.many.*', { group: 'g', concurrency: 1 }, () => end.promise)
    // One of each topic, of which one is handled.
    await expect.poll(async () => (await busy.admin.groups(topics[9]!))[0]?.inHand).toBe(1)
    await idle.subscribe('credit.many.*', { group: 'g' }, ({ body }) => void handled.push(body))
    await expect.poll(() => handled.length, { timeout: 15_000 }).toBe(9)
    for (const name of topics) await busy.publish(name, 'second')
    await expect.poll(() => handled.length).toBe(19)
    end.resolve()
  }, 30_000)

  test('a next attempt in months is waited for in silence', async () => {
    await using bus = await connect(server.url, { drain: 500 })
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    const work = await bus.subscribe('credit.months', { group: 'g', order: 'key' }, () => {
      throw new Retry({ after: '100d' })
    })
    await bus.publish('credit.months', 1)
    await expect.poll(() => work.status().released).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 300))
    process.off('warning', note)
    expect(warnings).toEqual([])
    expect(work.status().failed).toBe(1)
  })

  test('all places are filled, whatever part the messages come from', async () => {
    const jobs = topic('credit.part.{space}', { key: ({ key }: { key: string }) => key })
    await using bus = await connect(server.url, { drain: 500 })
    const end = Promise.withResolvers<void>()
    let first = true
    const work = await bus.subscribe(jobs, { group: 'g', concurrency: 8 }, async () => {
      if (!first) await end.promise
      first = false
    })
    const keys = Array.from({ length: 400 }, (_, n) => `k${n}`).filter((key) => partitionOf(key, 16) === 3)
    // Once it reads them all.
    await bus.publish(jobs.with({ space: '1' }), { key: keys[0]! })
    await expect.poll(() => work.status().handled).toBe(1)
    for (const key of keys) await bus.publish(jobs.with({ space: '1' }), { key })
    await expect.poll(() => work.status().running).toBe(8)
    end.resolve()
  })
})
