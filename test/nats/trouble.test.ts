import { jetstreamManager } from '@nats-io/jetstream'
import { expect, test } from 'vitest'
import { connect } from '../../src/bus.ts'
import { streamName } from '../../src/engines/nats/names.ts'
import { type NatsUser, passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'
import { eager } from './support.ts'

const users = (permissions: string): NatsUser[] => [
  { user: 'rig', password: 'rig' },
  { user: 'me', password: 'me', permissions },
]

await describeNats('a group that gets nothing says why', (version) => {
  test('where its user may not ask for messages, until it may', async () => {
    await using server = await startNats({ version, access: passwordAccess(users('publish: { deny: "$JS.API.CONSUMER.MSG.NEXT.>" }')) })
    await using bus = await connect(server.url, { drain: 500, nats: { ...eager, user: 'me', password: 'me' } })
    const got: unknown[] = []
    await bus.subscribe('troubled.jobs', { group: 'g' }, ({ body }) => void got.push(body))
    await bus.publish('troubled.jobs', 1)
    await expect.poll(async () => (await bus.health()).ok).toBe(false)
    expect((await bus.health()).detail).toMatch(/may not publish to \$JS\.API\.CONSUMER\.MSG\.NEXT\..*consumer 'g'/)
    await server.reload({ access: passwordAccess(users('publish: { allow: ">" }')) })
    await expect.poll(() => got).toEqual([1])
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
  }, 30_000)

  test('where its stream is gone, until it is there again', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url, { drain: 500 })
    const got: unknown[] = []
    await bus.subscribe('troubled.gone', { group: 'g' }, ({ body }) => void got.push(body))
    await bus.publish('troubled.gone', 1)
    await expect.poll(() => got).toEqual([1])
    const nc = await server.connect()
    await (await jetstreamManager(nc)).streams.delete(streamName('troubled.gone'))
    await nc.close()
    await expect.poll(async () => (await bus.health()).ok).toBe(false)
    expect((await bus.health()).detail).toContain("consumer 'g' cannot be made again")
    await bus.publish('troubled.gone', 2)
    await expect.poll(() => got).toEqual([1, 2])
    await expect.poll(async () => (await bus.health()).ok).toBe(true)
  }, 30_000)
})
