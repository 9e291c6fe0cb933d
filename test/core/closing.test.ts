import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect, test, vi } from 'vitest'
import { BusError, connect, connectEngine } from '../../src/index.ts'
import { memoryLedger } from '../../src/testing/index.ts'
import { queueModel } from '../../src/testing/models/queue.ts'
import { between, override } from '../../src/testing/models/wrapping.ts'

test('R9: closing ends though the broker is away and nothing can be settled', async () => {
  const engine = await queueModel().connect()
  const away = override(
    engine,
    between(engine, () => ({
      subscribed: () => ({ settle: () => Promise.reject(new BusError('engine_unavailable', 'the broker is away')) }),
    })),
  )
  const bus = await connectEngine(away, { ledger: memoryLedger(), drain: 300 })
  await bus.subscribe('jobs', { group: 'g' }, () => {})
  await bus.publish('jobs', 1)
  await vi.waitFor(() => expect(bus.status().subscriptions[0]?.handled).toBe(1))
  await bus.close()
})

test.each(['joins after all', 'never joins'])('R9: closing does not wait for a member that is still joining, and %s', async (what) => {
  const engine = await queueModel().connect()
  const letJoin = Promise.withResolvers<void>()
  let joining = false
  let left = 0
  const slow = override(engine, {
    subscribe: async (spec, sink) => {
      joining = true
      await letJoin.promise
      const joined = await engine.subscribe(spec, sink)
      return override(joined, {
        close: () => {
          left++
          return joined.close()
        },
      })
    },
    // Whoever joins is told by the engine's own close, if at all.
    close: async () => {
      if (what === 'joins after all') letJoin.resolve()
      else letJoin.reject(new BusError('closed', 'the engine is closed'))
    },
  })
  const bus = await connectEngine(slow, { ledger: memoryLedger(), drain: 200 })
  const subscribing = bus.subscribe('jobs', { group: 'g' }, () => {}).catch((error: BusError) => error.code)
  await vi.waitFor(() => expect(joining).toBe(true))
  await bus.close()
  expect(await subscribing).toBe('closed')
  expect(left).toBe(what === 'joins after all' ? 1 : 0)
  await engine.close()
})

test.each([
  ['fails', () => Promise.reject(new BusError('engine_unavailable', 'the broker is away'))],
  ['never answers', () => new Promise<void>(() => {})],
])(
  'R9: an engine whose stop %s does not keep a drain from aborting what hangs and giving it back',
  async (what, stop) => {
    const engine = await queueModel().connect()
    const told: string[] = []
    const away = override(
      engine,
      between(engine, () => ({
        subscribed: (subscription) => ({
          stop,
          close: () => {
            told.push('left')
            return subscription.close()
          },
        }),
      })),
    )
    const bus = await connectEngine(away, { ledger: memoryLedger() })
    const work = await bus.subscribe('jobs', { group: 'g' }, (_, { signal }) => {
      told.push('begun')
      return new Promise(() => signal.addEventListener('abort', () => told.push('aborted')))
    })
    await bus.publish('jobs', 1)
    await vi.waitFor(() => expect(told).toEqual(['begun']))
    const closing = work.close({ deadlineMs: 50 })
    if (what === 'fails') await expect(closing).rejects.toMatchObject({ code: 'engine_unavailable' })
    else await closing
    expect(told).toEqual(['begun', 'aborted', 'left'])
    await bus.close()
  },
  20_000,
)

test('R9: closing ends though the last publish was aborted before it was sent', async () => {
  const bus = await connect('memory:')
  const gone = new AbortController()
  const publish = bus.publish('a', 1, { signal: gone.signal })
  gone.abort()
  const closing = bus.close()
  await expect(publish).rejects.toMatchObject({ code: 'aborted' })
  await closing
})

test('R9: a subscription that is still joining when the bus closes leaves again, and says so', async () => {
  const engine = await queueModel().connect()
  const told: string[] = []
  const slow = override(
    engine,
    between(engine, async () => {
      told.push('joining')
      await new Promise((resolve) => setTimeout(resolve, 50))
      return {
        subscribed: (subscription) => ({
          close: () => {
            told.push('left')
            return subscription.close()
          },
        }),
      }
    }),
  )
  const bus = await connectEngine(slow, { ledger: memoryLedger() })
  const refused = expect(bus.subscribe('jobs', { group: 'g' }, () => {})).rejects.toMatchObject({ code: 'closed' })
  await vi.waitFor(() => expect(told).toEqual(['joining']))
  await bus.close()
  await refused
  expect(told).toEqual(['joining', 'left'])
})

test('options that are refused leave nothing open, neither the engine nor the ledger', async () => {
  const program = `
    import { connectEngine } from './src/index.ts'
    import { queueModel } from './src/testing/models/queue.ts'
    const engine = await queueModel().connect()
    await connectEngine(engine, { ledger: 'memory:', drain: 'soon' }).catch((error) => process.stdout.write(error.code))`
  expect(await outcome(program)).toEqual({ code: 0, out: 'invalid_argument' })
})

test('a process ends once its bus is closed, though a batch was waiting for more', async () => {
  const program = `
    import { connect } from './src/index.ts'
    const bus = await connect('memory:')
    await bus.subscribe('a', { group: 'g', batch: { size: 10, wait: '1h' } }, () => {})
    await bus.publish('a', 1)
    while (bus.status().subscriptions[0].inHand === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    await bus.close()`
  expect(await outcome(program)).toEqual({ code: 0, out: '' })
})

/** Of a process of its own, which must end by itself. */
async function outcome(program: string): Promise<{ code: unknown; out: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  const [[code], out] = await Promise.all([once(child, 'close'), text(child.stdout)])
  clearTimeout(timer)
  return { code, out }
}

test('R9: a subscription that is closed alone lets handlers finish for as long as connect said', async () => {
  await using bus = await connect('memory:', { drain: 100 })
  const aborted = Promise.withResolvers<void>()
  const work = await bus.subscribe('jobs', { group: 'g' }, (_, { signal }) => {
    signal.addEventListener('abort', () => aborted.resolve())
    return new Promise(() => {})
  })
  await bus.publish('jobs', 1)
  await vi.waitFor(() => expect(work.status().running).toBe(1), 5000)
  await work.close()
  await aborted.promise
}, 15_000)
