import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Bus, connect, Retry, type Subscription, topic } from '../../src/index.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

interface Job {
  readonly key: string
  readonly n: number
}

await describeNats('a part that leaves for a new member', (version) => {
  let server: NatsNode
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterAll(() => server.stop())

  /** A topic of two parts, and who handled what of it. */
  function group(name: string) {
    const jobs = topic(`${name}.{space}`, { key: ({ key }: Job) => key })
    const to = jobs.with({ space: '1' })
    const got: string[] = []
    const buses: Bus[] = []
    const works: Subscription[] = []
    const join = async (who: string, handle: (job: Job, again: boolean) => void | Promise<void>): Promise<Bus> => {
      const bus = await connect(server.url, { nats: { partitions: 2 } })
      buses.push(bus)
      works.push(
        await bus.subscribe(jobs, { group: 'g', concurrency: 8 }, ({ body }, { attempt }) => {
          got.push(`${who}:${body.key}${body.n}`)
          return handle(body, attempt > 1)
        }),
      )
      return bus
    }
    return {
      got,
      join,
      publish: (keys: string, count: number, from = 0) =>
        Promise.all(Array.from({ length: count }, (_, n) => buses[0]!.publish(to, { key: `${keys}${n}`, n: from + n }))),
      by: (who: string) => got.filter((one) => one.startsWith(`${who}:`)).length,
      async [Symbol.asyncDispose]() {
        await Promise.all(works.map((work) => work.close({ deadlineMs: 0 })))
        await Promise.all(buses.map((bus) => bus.close()))
      },
    }
  }

  test('does not wait for messages that wait for their next attempt: those come no earlier with their new owner', async () => {
    await using all = group('backoff')
    const handle = ({ key }: Job, again: boolean): void => {
      if (key.startsWith('bad') && !again) throw new Retry({ after: '8s' })
    }
    await all.join('A', handle)
    const begun = performance.now()
    await all.publish('bad', 6)
    await expect.poll(() => all.by('A')).toBe(6)
    // Behind them, in the same lanes.
    await all.publish('bad', 6, 6)
    await all.join('B', handle)
    await all.publish('good', 20)
    await expect.poll(() => all.got.filter((one) => one.includes(':good')).length, { timeout: 6000 }).toBe(20)
    await all.publish('more', 20)
    await expect.poll(() => all.got.filter((one) => one.includes(':more')).length).toBe(20)
    expect(all.by('B')).toBeGreaterThan(0)
    expect(performance.now() - begun).toBeLessThan(8000)
    // Each key's first one again, and only then the one behind it.
    await expect.poll(() => all.got.filter((one) => one.includes(':bad')).length, { timeout: 10_000 }).toBe(18)
    expect(performance.now() - begun).toBeGreaterThan(8000)
    for (let n = 0; n < 6; n++)
      expect(all.got.filter((one) => one.includes(`:bad${n}`)).map((one) => one.slice(2))).toEqual([
        `bad${n}${n}`,
        `bad${n}${n}`,
        `bad${n}${n + 6}`,
      ])
  }, 40_000)

  test('waits for a handler that takes long, and works on meanwhile', async () => {
    await using all = group('long')
    const end = Promise.withResolvers<void>()
    const handle = async ({ key }: Job): Promise<void> => {
      if (key.startsWith('long')) await end.promise
    }
    await all.join('A', handle)
    // Some for each part.
    await all.publish('long', 7)
    await expect.poll(() => all.by('A')).toBe(7)
    await all.join('B', handle)
    await new Promise((resolve) => setTimeout(resolve, 500))
    await all.publish('good', 20)
    await expect.poll(() => all.got.filter((one) => one.includes(':good')).length, { timeout: 6000 }).toBe(20)
    expect(all.by('B')).toBe(0)
    end.resolve()
    let n = 0
    await expect.poll(() => all.publish('more', 4, n++).then(() => all.by('B')), { timeout: 10_000, interval: 200 }).toBeGreaterThan(0)
    expect(all.got.filter((one) => one.includes(':long'))).toHaveLength(7)
  }, 40_000)
})
