import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

await describeNats('topics that a pattern meets', (version) => {
  test('are told by the server when they appear, change and come again, and not asked for meanwhile', async () => {
    await using server = await startNats({ version })
    const client = await server.connect()
    const jsm = await jetstreamManager(client)
    await jsm.streams.add({ name: 'OLD', subjects: ['old.one'] })
    await using bus = await connect(server.url)
    const told: string[] = []
    const stop = bus.admin.watch((storage) => told.push(storage))
    await vi.waitFor(() => expect(told).toEqual(['old.one']))
    const asked: string[] = []
    for (const list of ['LIST', 'NAMES'])
      client.subscribe(`$JS.API.STREAM.${list}`, { callback: (_, { subject }) => void asked.push(subject) })
    await client.flush()
    await sleep(4500)
    await jsm.streams.add({ name: 'NEW', subjects: ['new.one'] })
    await vi.waitFor(() => expect(told).toEqual(['old.one', 'new.one']), 1000)
    await jsm.streams.update('NEW', { subjects: ['new.one', 'new.two'] })
    await vi.waitFor(() => expect(told).toEqual(['old.one', 'new.one', 'new.two']), 1000)
    await jsm.streams.delete('OLD')
    await jsm.streams.add({ name: 'OLD', subjects: ['old.one'] })
    await vi.waitFor(() => expect(told).toEqual(['old.one', 'new.one', 'new.two', 'old.one']), 1000)
    expect(asked).toEqual([])
    stop()
    await client.close()
  }, 30_000)

  test('are found by a user whom the server does not tell, and after it was away', async () => {
    const users = [
      { user: 'rig', password: 'rig' },
      { user: 'me', password: 'me', permissions: 'subscribe: { deny: "$JS.EVENT.>" }' },
    ]
    await using server = await startNats({ version, access: passwordAccess(users) })
    const client = await server.connect({ reconnect: false })
    const jsm = await jetstreamManager(client)
    await jsm.streams.add({ name: 'OLD', subjects: ['old'] })
    const watching = async (user: string) => {
      const bus = await connect(server.url, { nats: { user, password: user, reconnectWaitMs: 2000, reconnectJitterMs: 0 } })
      const told: string[] = []
      bus.admin.watch((storage) => told.push(storage))
      await vi.waitFor(() => expect(told).toEqual(['old']))
      await sleep(300)
      return { bus, told }
    }
    const deaf = await watching('me')
    await jsm.streams.add({ name: 'NEW', subjects: ['new'] })
    await vi.waitFor(() => expect(deaf.told).toEqual(['old', 'new']), 4000)
    await deaf.bus.close()
    await jsm.streams.delete('NEW')
    const away = await watching('rig')
    await server.restart()
    // Before the bus is connected again.
    const another = await server.connect()
    await (await jetstreamManager(another)).streams.add({ name: 'NEW', subjects: ['new'] })
    expect((await away.bus.health()).ok).toBe(false)
    await vi.waitFor(() => expect(away.told).toEqual(['old', 'new']), 5000)
    await away.bus.close()
    await another.close()
    await client.close()
  }, 30_000)
})
