import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { openNats } from '../../src/engines/nats/engine.ts'
import { message } from '../embedded/support.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { startProxy } from '../rig/proxy.ts'

await describeNats('a publish whose answer was lost', async (version) => {
  const server = await startNats({ version })
  afterAll(() => server.stop())

  /** Publishes `first` while the answer is cut off, then others by somebody else, then repeats; so much later by the engine's clock. */
  async function repeat(topic: string, between: number, laterMs = 0) {
    const now = performance.now.bind(performance)
    await using proxy = await startProxy(server.port)
    const engine = await openNats(`nats://127.0.0.1:${proxy.port}`, {
      reconnectWaitMs: 20,
      reconnectJitterMs: 0,
      shared: () => ({ dedupeWindowMs: 100 }),
    })
    const other = await openNats(server.url)
    try {
      await engine.publish([message(topic, 'before')])
      const one = message(topic, 'doubtful')
      for (const connection of proxy.connections) connection.cutAfter(1, 'down')
      const [lost] = await engine.publish([one])
      expect(lost).toMatchObject({ ok: false, error: { code: 'publish_unknown' } })
      await other.publish(Array.from({ length: between }, (_, i) => message(topic, String(i))))
      const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + laterMs)
      onTestFinished(() => clock.mockRestore())
      // Past the stream's window: the server would store the same id again.
      await new Promise((resolve) => setTimeout(resolve, 250))
      await expect
        .poll(() =>
          engine.publish([message(topic, 'awake')]).then(
            ([outcome]) => outcome?.ok,
            () => false,
          ),
        )
        .toBe(true)
      const [again, fresh] = await engine.publish([one, message(topic, 'fresh')])
      const { messages } = await other.read(topic, 'start', 20_000)
      return { again, fresh, one, ids: messages.map(({ id }) => id) }
    } finally {
      await Promise.all([engine.close(), other.close()])
    }
  }

  test('is found on the stream and not stored twice, however short the window', async () => {
    const { again, fresh, one, ids } = await repeat('short', 3)
    expect(again).toMatchObject({ ok: true, duplicate: true, position: '2' })
    expect(fresh).toMatchObject({ ok: true, duplicate: false })
    expect(ids.filter((id) => id === one.id)).toHaveLength(1)
  })

  test('is found behind thousands of others', async () => {
    const { again, one, ids } = await repeat('busy', 12_000)
    expect(again).toMatchObject({ ok: true, duplicate: true })
    expect(ids.filter((id) => id === one.id)).toHaveLength(1)
  })

  test('is found half an hour later: a delayed message is tried for as long', async () => {
    const { again, one, ids } = await repeat('outage', 3, 30 * 60_000)
    expect(again).toMatchObject({ ok: true, duplicate: true })
    expect(ids.filter((id) => id === one.id)).toHaveLength(1)
  })

  test('is looked for among what came since, not on the whole subject', async () => {
    await using proxy = await startProxy(server.port)
    const engine = await openNats(`nats://127.0.0.1:${proxy.port}`, {
      reconnectWaitMs: 20,
      reconnectJitterMs: 0,
      shared: () => ({ dedupeWindowMs: 100 }),
    })
    const other = await openNats(server.url)
    // The last that this process knows of for long.
    await engine.publish([message('long', 'before')])
    await other.publish(Array.from({ length: 20_000 }, (_, i) => message('long', String(i))))
    await sleep(11_000)
    const one = message('long', 'doubtful')
    for (const connection of proxy.connections) connection.cutAfter(1, 'down')
    expect(await engine.publish([one])).toMatchObject([{ ok: false, error: { code: 'publish_unknown' } }])
    await sleep(250)
    const before = proxy.bytes.down
    const repeated = () => engine.publish([one]).catch(() => [undefined])
    await expect.poll(repeated).toMatchObject([{ ok: true, duplicate: true, position: '20002' }])
    expect(proxy.bytes.down - before).toBeLessThan(200_000)
    await Promise.all([engine.close(), other.close()])
  }, 40_000)

  test('that never came is stored by the repeat', async () => {
    await using proxy = await startProxy(server.port)
    const engine = await openNats(`nats://127.0.0.1:${proxy.port}`, {
      reconnectWaitMs: 20,
      reconnectJitterMs: 0,
      shared: () => ({ dedupeWindowMs: 100 }),
    })
    await engine.publish([message('lost', 'before')])
    const one = message('lost', 'gone')
    for (const connection of proxy.connections) connection.cutAfter(1, 'up')
    expect(await engine.publish([one])).toMatchObject([{ ok: false, error: { code: 'publish_unknown' } }])
    await new Promise((resolve) => setTimeout(resolve, 250))
    await expect
      .poll(() =>
        engine.publish([one]).then(
          ([outcome]) => outcome,
          () => undefined,
        ),
      )
      .toMatchObject({ ok: true, duplicate: false, position: '2' })
    await engine.close()
  })
})
