import { jetstreamManager } from '@nats-io/jetstream'
import { expect, test, vi } from 'vitest'
import { openNats } from '../../src/engines/nats/engine.ts'
import type { NatsOptions } from '../../src/engines/nats/options.ts'
import { type Bus, connect, Reject } from '../../src/index.ts'
import { message } from '../embedded/support.ts'
import { startCluster } from '../rig/cluster.ts'
import { describeNats } from '../rig/needs.ts'

/** A delayed message, a dead letter, a body stored aside, a replay: everything that the bus keeps for itself. */
async function everything(bus: Bus): Promise<void> {
  const name = `t${crypto.randomUUID()}`
  let broken = true
  const work = await bus.subscribe(name, { group: 'g', order: 'key' }, () => {
    if (broken) throw new Reject('broken')
  })
  await bus.publish(name, 'x'.repeat(2_000_000))
  await bus.publish(name, 1, { delay: '1h' })
  const letters = bus.admin.deadLetters(name, 'g')
  await expect.poll(async () => (await letters.list()).length, { timeout: 10_000 }).toBe(1)
  broken = false
  await letters.replay({})
  await work.close()
}

await describeNats("the copies of the bus's own", (version) => {
  test('R1: what all topics share has the copies that are asked for, whoever came first: made by apply, told otherwise; more than the cluster has are an error', async () => {
    await using cluster = await startCluster({ version })
    const open = (nats: NatsOptions) => connect(cluster.url, { nats, claimCheck: true })
    const client = await cluster.nodes[0]!.connect()
    const jsm = await jetstreamManager(client)
    const copies = async (): Promise<Record<string, number>> => {
      const found: Record<string, number> = {}
      for await (const { config } of jsm.streams.list()) if (config.name.includes('COZEBUS')) found[config.name] = config.num_replicas
      return found
    }
    const own = ['COZEBUS_REPLAYS', 'KV_COZEBUS_CHECKPOINTS', 'KV_COZEBUS_LEDGER', 'KV_COZEBUS_OWNERS', 'OBJ_COZEBUS_BLOBS']
    {
      await using first = await open({})
      await everything(first)
      const found = await first.diagnose()
      for (const name of own)
        expect(found).toContainEqual(expect.objectContaining({ level: 'warning', detail: `${name}: 1 of 3 servers hold it` }))
    }
    expect(await copies()).toEqual(Object.fromEntries(own.map((name) => [name, 1])))

    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    {
      await using second = await open({ replicas: 3 })
      await everything(second)
      await everything(second)
    }
    const told = warned.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('asked for are 3'))
    warned.mockRestore()
    expect(told.map((text) => /'(.*?)'/.exec(text)![1]).sort()).toEqual(own)

    {
      await using third = await open({ replicas: 3, provision: 'verify' })
      await expect(third.publish('any', 1, { delay: '1h' })).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringContaining('KV_COZEBUS_LEDGER'),
      })
    }
    {
      await using fourth = await open({ replicas: 3, provision: 'apply' })
      await everything(fourth)
    }
    expect(await copies()).toEqual(Object.fromEntries(own.map((name) => [name, 3])))
    // Asked for by somebody else.
    await using fifth = await open({ replicas: 1, provision: 'apply' })
    await everything(fifth)
    expect(await copies()).toEqual(Object.fromEntries(own.map((name) => [name, 3])))
    await client.close()
    // More than there are servers, for a stream and for a bucket.
    await using wide = await open({ replicas: 5 })
    const begun = performance.now()
    const refused = { code: 'invalid_argument', message: expect.stringMatching(/^replicas is 5, .*no suitable peers/) }
    const engine = await openNats(cluster.url, { replicas: 5 })
    // One after the other they would take three times as long.
    const many = engine.publish(['wide_1', 'wide_2', 'wide_3'].map((name) => message(name, 'x')))
    await Promise.all([
      expect(many).resolves.toMatchObject(Array(3).fill({ ok: false, error: { code: 'invalid_argument' } })),
      expect(wide.publish('wide', 1)).rejects.toMatchObject(refused),
      expect(wide.kv('wide')).rejects.toMatchObject(refused),
    ])
    await engine.close()
    expect(performance.now() - begun).toBeLessThan(10_000)
  }, 120_000)
})
