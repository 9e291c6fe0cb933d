import { afterAll, beforeAll, expect, test } from 'vitest'
import { openNats } from '../../src/engines/nats/engine.ts'
import { connect, topic } from '../../src/index.ts'
import { conformance } from '../../src/testing/suite.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

await describeNats('core NATS, which stores nothing', async (version) => {
  const server = await startNats({ version, jetstream: false })
  afterAll(() => server.stop())
  const core = { nats: { jetstream: false } } as const
  const tests = await conformance({ name: `core ${version}`, open: () => openNats(server.url, core.nats) })
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run())

  test('one member of each group gets a message, and who comes later gets none of what was', async () => {
    const [a, b] = [await connect(server.url, core), await connect(server.url, core)]
    const got: Record<string, number[]> = { a: [], b: [], other: [], late: [] }
    await a.subscribe('t', { group: 'g' }, (message) => void got['a']!.push(message.body))
    await b.subscribe('t', { group: 'g' }, (message) => void got['b']!.push(message.body))
    await b.subscribe('t', { group: 'other' }, (message) => void got['other']!.push(message.body))
    const outcomes = await a.publishMany(
      't',
      Array.from({ length: 200 }, (_, i) => i),
      { key: 'k', headers: { 'x-a': 'b' } },
    )
    expect(outcomes.every(({ ok }) => ok)).toBe(true)
    await expect.poll(() => got['other']!.length).toBe(200)
    expect([...got['a']!, ...got['b']!].sort((x, y) => x - y)).toEqual(got['other'])
    expect(Math.min(got['a']!.length, got['b']!.length)).toBeGreaterThan(0)
    await b.subscribe('t', { group: 'late' }, (message) => void got['late']!.push(message.body))
    await sleep(50)
    expect(got['late']).toEqual([])
    await Promise.all([a.close(), b.close()])
  })

  test('a failing handler is counted, and nothing is tried again; close lets handlers finish', async () => {
    const bus = await connect(server.url, core)
    let runs = 0
    let finished = 0
    const work = await bus.subscribe('f', { group: 'g', concurrency: 2 }, async (message) => {
      runs++
      if (message.body === 0) throw new Error('broken')
      await sleep(100)
      finished++
    })
    await bus.publishMany('f', [0, 1, 2, 3])
    await expect.poll(() => runs).toBeGreaterThan(2)
    await bus.close()
    expect([runs, finished, work.status().failed, work.status().handled]).toEqual([4, 3, 1, 3])
  })

  test('what only a stored message can be given is refused, and says what to do', async () => {
    const bus = await connect(server.url, core)
    const refused = async (action: () => Promise<unknown>): Promise<unknown> =>
      action().then(
        () => 'no error',
        (error) => error.code,
      )
    expect(await refused(() => bus.subscribe('t', { group: 'g', retry: { attempts: 3 } }, () => {}))).toBe('unsupported')
    expect(await refused(() => bus.subscribe('t', { group: 'g', order: 'key' }, () => {}))).toBe('unsupported')
    expect(await refused(() => bus.admin.lag('t', 'g'))).toBe('unsupported')
    expect(await refused(() => bus.admin.deadLetters('t', 'g').list())).toBe('unsupported')
    expect(await refused(() => bus.publish('t', 1, { delay: '1s' }))).toBe('unsupported')
    expect(await refused(() => bus.kv('b'))).toBe('unsupported')
    await bus.close()
  })
})

await describeNats('stored and unstored topics side by side', (version) => {
  let server: Awaited<ReturnType<typeof startNats>>
  beforeAll(async () => {
    server = await startNats({ version })
  })
  afterAll(() => server.stop())

  test('persist: false hands over and stores nothing; the rest is stored', async () => {
    await using bus = await connect(server.url)
    const ticks = topic('ticks.{symbol}', { persist: false })
    const got: string[] = []
    await bus.subscribe(ticks, { group: 'g' }, (message) => void got.push(`${message.params.symbol} ${message.body}`))
    await bus.publish(ticks.with({ symbol: 'a' }), 1)
    await bus.publish('jobs', 'stored')
    await bus.publish('loose', 'not stored', { persist: false })
    await expect.poll(() => got).toEqual(['a 1'])
    expect((await bus.admin.topics()).map(({ storage }) => storage)).toEqual(['jobs'])
    await expect(bus.publish('loose', 1, { persist: false, delay: '1s' })).rejects.toMatchObject({ code: 'invalid_argument' })
  })
})

test('an engine that stores all refuses persist: false', async () => {
  await using bus = await connect('memory:')
  await expect(bus.publish('t', 1, { persist: false })).rejects.toMatchObject({ code: 'unsupported' })
  await expect(bus.subscribe(topic('u', { persist: false }), { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'unsupported' })
})
