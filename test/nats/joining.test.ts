import { AckPolicy, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { ownersBucket, streamName } from '../../src/engines/nats/names.ts'
import { connect } from '../../src/index.ts'
import { type NatsNode, startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

await describeNats('a topic that appears', (version) => {
  let server: NatsNode
  let nc: NatsConnection
  beforeAll(async () => {
    server = await startNats({ version })
    nc = await server.connect()
  })
  afterAll(async () => {
    await nc.close()
    await server.stop()
  })

  test('while the server stumbles is joined once it does no more, and read once', async () => {
    await using bus = await connect(server.url, { drain: 500 })
    const jsm = await jetstreamManager(nc)
    await bus.publish('stumbling.a', 0)
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const got: string[] = []
    const work = await bus.subscribe('stumbling.*', { group: 'g', order: 'key', concurrency: 4 }, ({ topic, body }) => {
      got.push(`${topic} ${body}`)
    })
    await expect.poll(() => got).toEqual(['stumbling.a 0'])
    const owners = `KV_${ownersBucket}`
    const { config } = await jsm.streams.info(owners)
    await jsm.streams.delete(owners)
    await bus.publish('stumbling.b', 0)
    await expect.poll(() => work.status().topics).toContain('stumbling.b')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await jsm.streams.add(config)
    await expect.poll(() => got, { timeout: 15_000 }).toContain('stumbling.b 0')
    expect(work.status().refused).toEqual([])
    for (let n = 1; n <= 10; n++) await bus.publish('stumbling.b', n)
    await expect.poll(() => got).toContain('stumbling.b 10')
    expect(got.filter((one) => one.startsWith('stumbling.b'))).toEqual(Array.from({ length: 11 }, (_, n) => `stumbling.b ${n}`))
    // Two readers of one consumer would take each other for strangers.
    expect(warnings.filter(({ message }) => message.includes('other readers'))).toEqual([])
  }, 40_000)

  test('and cannot be joined turns health red, and is joined once what was in the way is gone', async () => {
    await using bus = await connect(server.url, { drain: 500 })
    const jsm = await jetstreamManager(nc)
    const got: unknown[] = []
    const work = await bus.subscribe('taken.*', { group: 'g' }, ({ body }) => void got.push(body))
    const stream = streamName('taken.a')
    await jsm.streams.add({ name: stream, subjects: ['taken.a'] })
    await jsm.consumers.add(stream, { durable_name: 'g', ack_policy: AckPolicy.Explicit, deliver_subject: 'elsewhere' })
    await bus.publish('taken.a', 1)
    await expect.poll(() => work.status().refused).toEqual([expect.stringContaining("consumer 'g'")])
    expect(await bus.health()).toMatchObject({ ok: false, detail: expect.stringContaining("consumer 'g'") })
    await jsm.consumers.delete(stream, 'g')
    await expect.poll(() => got, { timeout: 15_000 }).toEqual([1])
    expect(work.status().refused).toEqual([])
    expect((await bus.health()).ok).toBe(true)
  }, 40_000)
})
