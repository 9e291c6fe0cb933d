import { expect, test } from 'vitest'
import { z } from 'zod'
import { type BusError, connect, topic } from '../../src/index.ts'

test('a publish that nobody awaits tells onError once and never ends the process', async () => {
  const told: BusError[] = []
  const bus = await connect('memory:', { publish: { onError: (error) => told.push(error) } })
  void bus.publish('bad topic', 1)
  await expect(bus.publish('also bad', 1)).rejects.toMatchObject({ code: 'invalid_topic' })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(told.map((error) => error.code)).toEqual(['invalid_topic'])
  await bus.close()
})

test('publish validates by the schema and sends what it was given; the key comes from the output', async () => {
  const jobs = topic('jobs', { schema: z.object({ n: z.string().transform(Number) }), key: (job) => `k${job.n}` })
  await using bus = await connect('memory:')
  await expect(bus.publish(jobs, { n: 5 } as never)).rejects.toMatchObject({ code: 'invalid_message' })
  const got = new Promise<{ body: unknown; key: string | undefined; bytes: string }>((resolve) => {
    void bus.subscribe(jobs, { group: 'g' }, (message) =>
      resolve({ body: message.body, key: message.key, bytes: Buffer.from(message.bytes).toString() }),
    )
  })
  await bus.publish(jobs, { n: '7' })
  expect(await got).toEqual({ body: { n: 7 }, key: 'k7', bytes: '{"n":"7"}' })
})

test.each([
  [{ 'a b': 'x' }, 'token'],
  [{ a: 'x\ny' }, 'line break'],
  [{ 'cozebus-id': 'x' }, "the bus's own"],
])('headers %j are refused', async (headers, why) => {
  await using bus = await connect('memory:')
  await expect(bus.publish('a', 1, { headers })).rejects.toThrow(why)
})

test('an unknown URL, options out of range and a missing handler say what to do', async () => {
  await expect(connect('ftp://x')).rejects.toThrow(/file:/)
  await using bus = await connect('memory:')
  await expect(bus.subscribe('a', { group: 'g', concurrency: 0 }, () => {})).rejects.toMatchObject({ code: 'invalid_argument' })
  await expect(bus.subscribe('a', { group: 'g g' }, () => {})).rejects.toMatchObject({ code: 'invalid_argument' })
  for (const wrong of [
    { group: undefined },
    { group: 'g', order: 'keys' },
    { group: 'g', orderScope: 'all' },
    { group: 'g', from: 'latest' },
    { group: 'g', timeout: '30d' },
    { group: 'g', retry: { factor: 0.5 } },
    { group: 'g', retry: { jitter: 'some' } },
  ])
    await expect(
      bus.subscribe('a', wrong as never, () => {}),
      JSON.stringify(wrong),
    ).rejects.toMatchObject({ code: 'invalid_argument' })
  for (const topic of [undefined, null, 7] as unknown as string[]) {
    await expect(bus.subscribe(topic, { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'invalid_topic' })
    await expect(bus.publish(topic, 1)).rejects.toMatchObject({ code: 'invalid_topic' })
    await expect(bus.kv(topic)).rejects.toMatchObject({ code: 'invalid_topic' })
  }
  await expect(bus.publish('a', 1, { delay: 'soon' as never })).rejects.toMatchObject({ code: 'invalid_argument' })
  await expect(bus.publish('a', 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
})

test('R3: a group that was paused before its members came handles nothing until it is resumed', async () => {
  await using bus = await connect('memory:')
  const first = await bus.subscribe('t', { group: 'g' }, () => {})
  await first.close()
  await bus.admin.pause('t', 'g')
  for (let i = 0; i < 20; i++) await bus.publish('t', i)
  const got: number[] = []
  await bus.subscribe('t', { group: 'g' }, (message) => void got.push(message.body))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(got).toEqual([])
  await bus.admin.resume('t', 'g')
  await expect.poll(() => got.length).toBe(20)
})

test('a group from a date gets what was stored since', async () => {
  await using bus = await connect('memory:')
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30))
  for (const body of ['old', 'older']) await bus.publish('t', body)
  await pause()
  const from = new Date()
  await pause()
  for (const body of ['new', 'newer']) await bus.publish('t', body)
  const got: string[] = []
  await bus.subscribe('t', { group: 'g', from, concurrency: 1 }, (message) => void got.push(message.body))
  await expect.poll(() => got).toEqual(['new', 'newer'])
  await pause()
  expect(got).toEqual(['new', 'newer'])
})

test('deliverAt is a time before which nobody gets the message', async () => {
  await using bus = await connect('memory:')
  const at: number[] = []
  await bus.subscribe('t', { group: 'g' }, () => void at.push(Date.now()))
  const due = Date.now() + 400
  await bus.publish('t', 'later', { deliverAt: new Date(due) })
  await expect.poll(() => at.length, { timeout: 10_000 }).toBe(1)
  expect(at[0]).toBeGreaterThanOrEqual(due)
  await expect(bus.publish('t', 'x', { deliverAt: new Date('no date') })).rejects.toMatchObject({ code: 'invalid_argument' })
})

test('without onError a publish that nobody awaits and that fails is a warning of the process', async () => {
  const warned: (Error & { code?: string })[] = []
  const hear = (warning: Error): void => void warned.push(warning)
  process.on('warning', hear)
  try {
    await using bus = await connect('memory:')
    void bus.publish('bad topic', 1)
    await expect.poll(() => warned.map(({ name, code }) => [name, code])).toContainEqual(['CozebusWarning', 'invalid_topic'])
    expect(warned.find(({ name }) => name === 'CozebusWarning')?.message).toMatch(/nobody awaited.*bad topic/)
  } finally {
    process.off('warning', hear)
  }
})
